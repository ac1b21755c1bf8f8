"""What ``gwanje check`` asks of ``microgrid/planner.toml``: its keys, its tags, and a tariff to plan with."""

from __future__ import annotations

from gwanje.control.microgrid.files.family_files import FamilyFileError, read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.planner.settings import FILE, check_tags, parse
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
        check_tags(parse(files.content), site.tags)
    except ControlConfigError as error:
        for path, reason in error.problems:
            unplaced = not path or (len(path) == 1 and path[0] not in files.content)
            if unplaced:  # a device or tag by its name: no key of the file
                found.append((FILE, (), ": ".join([*map(str, path), reason])))
            else:
                found.append((*files.place(path), reason))
    return found
