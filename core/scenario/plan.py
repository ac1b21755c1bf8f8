"""From a script and what the simulators can do wrong to the faults of one run: seeded, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gwanje.core.scenario.script import Rule, Scenario
from gwanje.core.site.config import Site

MICROPHONE = "microphone"
"""Stands for a driver where nodes of ``nodes.toml`` are meant."""


@dataclass(frozen=True, slots=True)
class Place:
    """A simulated device or microphone with its tags.

    Attributes:
        name: of the device or node.
        driver: of the device, or :data:`MICROPHONE`.
        tags: that it feeds, and those of devices behind it.
        scan_s: of the tags that are read from registers, the period; 0 for what devices send by themselves.
        hub: others are behind it.
    """

    name: str
    driver: str
    tags: tuple[str, ...]
    scan_s: tuple[float, ...]
    hub: bool = False


@dataclass(frozen=True, slots=True)
class Menu:
    """What one simulator can do wrong with the devices of one driver.

    Attributes:
        service: that takes the faults.
        driver: of the devices.
        kinds: of faults, as ``kind`` or ``kind/how``.
    """

    service: str
    driver: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One fault on one device.

    Attributes:
        service: that takes the fault.
        driver: of the devices.
        kind: as the menu says it.
        places: devices to try, in this order: not every kind goes with every device.
        rule: what is expected.
    """

    service: str
    driver: str
    kind: str
    places: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Track:
    """The faults of one family, one after another; the tracks of a scenario run side by side."""

    driver: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of one run.

    Attributes:
        unspecified: (driver, kind) of which the script says nothing.
        skipped: (driver, kind, why) that the script leaves out.
    """

    tracks: tuple[Track, ...]
    unspecified: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str, str], ...]


def places_of(site: Site) -> dict[str, Place]:
    """Every device and microphone node of a site, by name."""
    behind: dict[str, list[str]] = {}
    own: dict[str, list[tuple[str, float]]] = {}
    for device in site.devices:
        scanned = device.driver in ("sunspec", "registers")
        own[device.name] = [(one.tag, site.scan_s[one.scan] if scanned else 0.0) for one in device.points]
        if device.via:
            behind.setdefault(device.via, []).append(device.name)
    found: dict[str, Place] = {}
    for device in site.devices:
        fed = [*own[device.name], *(one for name in behind.get(device.name, ()) for one in own[name])]
        tags, scan_s = tuple(one[0] for one in fed), tuple(one[1] for one in fed)
        found[device.name] = Place(device.name, device.driver, tags, scan_s, device.name in behind)
    media = [tag.name for tag in site.tags if tag.owner == "media" and not tag.name.startswith("system.")]
    for node in site.nodes:
        tags = tuple(name for name in media if name.startswith(f"{node.prefix}."))
        found[node.name] = Place(node.name, MICROPHONE, tags, (0.0,) * len(tags))
    return found


def make_plan(scenario: Scenario, menus: Iterable[Menu], places: Mapping[str, Place], seed: int) -> Plan:
    """Which faults are set in which order.

    Args:
        scenario: the script.
        menus: of all simulators.
        places: simulated devices and nodes, by name.
        seed: of everything that is chosen.
    """
    unspecified: list[tuple[str, str]] = []
    skipped: list[tuple[str, str, str]] = []
    tracks = []
    for menu in menus:
        rng = random.Random(f"{seed} {menu.service} {menu.driver}")
        mine = [one for one in places.values() if one.driver == menu.driver]
        steps = []
        for kind in menu.kinds:
            rule = scenario.rule(menu.driver, kind)
            if rule is None:
                unspecified.append((menu.driver, kind))
            elif rule.skip:
                skipped.append((menu.driver, kind, rule.skip))
            else:
                names = [one.name for one in mine if fnmatchcase(one.name, rule.devices)]
                steps.append(Step(menu.service, menu.driver, kind, _chosen(rng, names, places), rule))
        if scenario.kinds_max and len(steps) > scenario.kinds_max:
            steps = [steps[at] for at in sorted(rng.sample(range(len(steps)), scenario.kinds_max))]
        if steps:
            tracks.append(Track(menu.driver, tuple(steps)))
    return Plan(tuple(tracks), tuple(unspecified), tuple(skipped))


def _chosen(rng: random.Random, names: Sequence[str], places: Mapping[str, Place]) -> tuple[str, ...]:
    """Two devices by chance, and two hubs: what is not for the one may be for the other."""
    plain = [one for one in names if not places[one].hub]
    hubs = [one for one in names if places[one].hub]
    return (*rng.sample(plain, min(2, len(plain))), *rng.sample(hubs, min(2, len(hubs))))


def shown_by(place: Place, rule: Rule) -> tuple[str, ...]:
    """The tags of a device that must show a fault."""
    found = tuple(_fitting(place.tags, rule.quantities))
    return found[:1] if rule.first else found


def _fitting(tags: Iterable[str], quantities: Sequence[str]) -> Iterator[str]:
    for tag in tags:
        quantity = tag.rpartition(".")[2]
        if any(fnmatchcase(quantity, one) for one in quantities):
            yield tag
