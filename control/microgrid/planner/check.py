"""What ``gwanje check`` asks of ``microgrid/planner.toml``: its keys, its tags, a tariff, and the whole balance.

Whatever the ledger meters or the fast layers control stands in the plan, or is left out with a reason.
"""

from __future__ import annotations

import tomllib

from gwanje.control.microgrid import settings as fast_layers
from gwanje.control.microgrid.files.family_files import FamilyFileError, read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.ledger import settings as ledger
from gwanje.control.microgrid.planner.settings import FILE, PlannerSettings, check_tags, parse
from gwanje.control.microgrid.tariff import reader as tariff_reader
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import KeyPath


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's planner: file, key path, reason. A site without its file has none."""
    if not (site.root / FILE).exists():
        return []
    found: list[tuple[str, KeyPath, str]] = []
    if not (site.root / tariff_reader.TERMS_FILE).exists():
        found.append((FILE, (), f"the planner needs {tariff_reader.TERMS_FILE}"))
    try:
        files = read_family_files(site.root, FILE)
    except FamilyFileError as error:
        return [*found, (error.file, (), str(error).removeprefix(f"{error.file}: "))]
    try:
        settings = parse(files.content)
        found += [(FILE, (), reason) for reason in uncovered(settings, known_devices(site))]
        check_tags(settings, site.tags)
    except ControlConfigError as error:
        for path, reason in error.problems:
            unplaced = not path or (len(path) == 1 and path[0] not in files.content)
            if unplaced:  # a device or tag by its name: no key of the file
                found.append((FILE, (), ": ".join([*map(str, path), reason])))
            else:
                found.append((*files.place(path), reason))
    return found


def known_devices(site: Site) -> dict[str, str]:
    """Devices with a power in the site's balance → the file that knows them.

    A file that is missing or wrong gives none: its own check tells of that.
    """
    found: dict[str, str] = {}
    try:
        counted = ledger.read_settings(site.root)
        tags = [one.tag for one in counted.generation]
        tags += [one.tag for one in counted.load] + [one.tag for one in counted.storage]
        found |= {tag.rpartition(".")[0]: ledger.FILE for tag in tags}
    except (ControlConfigError, FamilyFileError):
        pass
    try:
        fast = fast_layers.read_settings(site.root)
        names = [one.name for one in fast.battery] + [one.name for one in fast.generator]
        names += [one.name for one in fast.source] + [one.name for one in fast.load]
        found |= dict.fromkeys(names, fast_layers.FILE.as_posix())
    except (ControlConfigError, OSError, tomllib.TOMLDecodeError):
        pass
    return found


def uncovered(settings: PlannerSettings, known: dict[str, str]) -> list[str]:
    """What is missing to the whole balance, a line each; and what is left out that need not be."""
    planned, left_out = set(settings.planned()), {one.name for one in settings.left_out}
    found = [
        f"{name} stands in {file} but in no plan: plan it, or name it in [[left_out]] with the reason"
        for name, file in sorted(known.items())
        if name not in planned | left_out
    ]
    found += [f"{name} is planned and left out" for name in sorted(planned & left_out)]
    found += [f"left_out names {name}, which no meter or controller knows" for name in sorted(left_out - set(known))]
    return found
