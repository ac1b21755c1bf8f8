"""Device profiles and fleets: what a kind of device has is said once, its devices are listed or numbered.

``profiles/NAME.toml`` holds ``[profile]`` (driver, scan class, time-out, identity and the driver's own ``params``) and
``[[point]]``, ``[[setpoint]]`` and ``[[command]]`` whose ``quantity`` becomes the last word of a tag: a device
``jincheon.lamp0001`` with the profile's quantity ``dim_pct`` has the tag ``jincheon.lamp0001.dim_pct``. In
``devices/*.toml`` a ``[[device]]`` names its profile, and a ``[[fleet]]`` makes many of one: in its texts ``{n}``
stands for the number, ports count up from ``port`` by ``port_step``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from gwanje.core.site.devices import (
    FAMILIES,
    FLEET_MAX,
    HEALTH,
    SCAN_CLASSES,
    Device,
    Point,
    Register,
    Setpoint,
    Twin,
    address_keys,
    read_command,
    read_device,
    read_head,
    read_scales,
    read_setpoint,
    read_twin,
)
from gwanje.core.site.tag_files import check_promise, read_quantity
from gwanje.core.site.toml_reader import Document, Reader
from gwanje.core.tags.table import Tag

Written = TypeVar("Written", Point, Setpoint)


@dataclass(frozen=True, slots=True)
class ProfilePoint(Generic[Written]):
    """A quantity of every device of a profile: its tag, which lacks only the device, and where it is."""

    quantity: str
    tag: dict[str, Any]
    ko: str
    en: str
    point: Written


@dataclass(frozen=True, slots=True)
class Profile:
    """What all devices of one kind have in common.

    Attributes:
        name: of its file.
        driver: of :data:`gwanje.core.site.devices.FAMILIES`.
        scan: class of points that do not say otherwise.
        timeout_s: for each answer.
        health: see :class:`Device`.
        params: keys of the driver, checked by ``io``; a device's own add to them.
        points: read.
        commands: written by command.
        setpoints: written under a lease; tags of another part, in whose names ``{name}`` stands for the device.
    """

    name: str
    driver: str
    scan: str
    timeout_s: float
    health: str
    params: Mapping[str, Any]
    points: tuple[ProfilePoint[Point], ...]
    commands: tuple[ProfilePoint[Setpoint], ...]
    setpoints: tuple[Setpoint, ...]


@dataclass(slots=True)
class Fleet:
    """What the files ``devices/*.toml`` come to.

    Attributes:
        devices: all, in the order of the files.
        tags: of devices with a profile.
    """

    devices: tuple[Device, ...] = ()
    tags: list[Tag] = field(default_factory=list)


def read_profile(name: str, document: Document) -> Profile:
    """A profile's file."""
    root = document.root()
    head = root.reader("profile", required=not document.problems) or Reader(document, ("profile",), {"driver": "mqtt"})
    driver = head.text("driver", choices=tuple(FAMILIES))
    scan = head.text("scan", "normal", choices=SCAN_CLASSES)
    profile = Profile(
        name=name,
        driver=driver,
        scan=scan,
        timeout_s=head.number("timeout_s", 1.0, 0.05, 30.0),
        health=head.text("health", "full", choices=HEALTH),
        params=dict(head.table("params") or {}),
        points=tuple(_point(one, driver, scan) for one in root.readers("point")),
        commands=tuple(_command(one, driver) for one in root.readers("command")),
        setpoints=tuple(read_setpoint(one, driver) for one in root.readers("setpoint")),
    )
    head.finish()
    root.finish()
    seen: set[str] = set()
    stand = [("point", index, one.quantity) for index, one in enumerate(profile.points)]
    stand += [("command", index, one.quantity) for index, one in enumerate(profile.commands)]
    for kind, index, quantity in stand:
        if quantity in seen or quantity in ("online", "scan_ms", "errors"):
            document.problem((kind, index, "quantity"), f"quantity {quantity!r} is there already")
        seen.add(quantity)
    return profile


def _point(reader: Reader, driver: str, scan: str) -> ProfilePoint[Point]:
    quantity, tag, ko, en = _quantity(reader)
    point = Point(
        tag="",
        scan=reader.text("scan", scan, choices=SCAN_CLASSES),
        **read_scales(reader),
        **address_keys(reader, driver),
    )
    reader.finish()
    return ProfilePoint(quantity, tag, ko, en, point)


def _command(reader: Reader, driver: str) -> ProfilePoint[Setpoint]:
    quantity, tag, ko, en = _quantity(reader)
    if tag["kind"] == "measurement":
        tag["kind"] = "setpoint"
    return ProfilePoint(quantity, tag, ko, en, read_command(reader, driver, tag=""))


def _quantity(reader: Reader) -> tuple[str, dict[str, Any], str, str]:
    quantity = reader.text("quantity")
    tag = read_quantity(reader)
    if not quantity or quantity != quantity.lower() or not quantity.replace("_", "").isalnum():
        reader.problem("quantity", f"{quantity!r} is not a word in lower case")
    check_promise(reader, quantity, quantity, tag["unit"])
    return quantity, tag, tag.pop("ko"), tag.pop("en")


def read_devices(documents: Mapping[str, Document], profiles: Mapping[str, Profile]) -> Fleet:
    """All devices of a site.

    Args:
        documents: ``devices/*.toml`` by the name they are shown as.
        profiles: by name.
    """
    register, tags = Register(), []
    for document in documents.values():
        root = document.root()
        for reader in root.readers("device"):
            if reader.has("profile"):
                profile = _profile_of(reader, profiles)
                if profile is not None:
                    device, made = _instance(reader, profile)
                    register.add(device, reader)
                    tags += made
            else:
                register.add(read_device(reader), reader)
        for reader in root.readers("fleet"):
            profile = _profile_of(reader, profiles)
            if profile is not None:
                for device, made in _fleet(reader, profile):
                    register.add(device, reader)
                    tags += made
        root.finish()
    register.check_ways(documents)
    return Fleet(tuple(register.devices), tags)


def _profile_of(reader: Reader, profiles: Mapping[str, Profile]) -> Profile | None:
    name = reader.text("profile")
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        reader.problem("profile", f"no profile {name!r} in profiles/ (known: {known})")
    return profiles.get(name)


def _common(reader: Reader, profile: Profile) -> dict[str, Any]:
    head = read_head(reader, profile.driver)
    head["params"] = {**profile.params, **head["params"]}
    head["port"] = 0 if head["via"] else reader.integer("port", 0, 0, 65_535)
    head["x_m"] = reader.number("x_m", 0.0, -20_000, 20_000) if reader.has("x_m") else float("nan")
    head["y_m"] = reader.number("y_m", 0.0, -20_000, 20_000) if reader.has("y_m") else float("nan")
    return head


def _instance(reader: Reader, profile: Profile) -> tuple[Device, list[Tag]]:
    head = _common(reader, profile)
    twin = read_twin(reader.reader("twin"))
    reader.finish()
    return _made(profile, head, twin)


def _fleet(reader: Reader, profile: Profile) -> list[tuple[Device, list[Tag]]]:
    """The devices of a ``[[fleet]]``; none when it cannot be expanded."""
    numbers = reader.sequence("n", required=True)
    step = reader.integer("port_step", 0, 0, 1_000)
    columns = reader.integer("columns", 100, 1, 1_000)
    dx_m, dy_m = (reader.number(key, 0.0, -1_000, 1_000) for key in ("dx_m", "dy_m"))
    head = _common(reader, profile)
    twin = read_twin(reader.reader("twin"))
    reader.finish()
    if len(numbers) != 2 or not all(isinstance(one, int) for one in numbers) or not numbers[0] <= numbers[1]:
        reader.problem("n", "must be [first, last]")
        return []
    first, last = numbers
    if last - first >= FLEET_MAX:
        reader.problem("n", f"more than {FLEET_MAX} devices")
        return []
    if "{n" not in head["name"]:
        reader.problem("name", "must hold {n}")
        return []
    made = []
    for index, n in enumerate(range(first, last + 1)):
        try:
            one = {key: _numbered(value, n) for key, value in head.items() if key not in ("path", "source", "driver")}
            one_twin = None if twin is None else Twin(twin.kind, _numbered(twin.params, n))
        except (KeyError, IndexError, ValueError) as error:
            reader.problem("name", f"cannot be expanded: {error}")
            return []
        if one["port"]:
            one["port"] += index * step
        if one["port"] > 65_535:
            reader.problem("port_step", f"port {one['port']} of device {one['name']!r} is above 65535")
            return []
        one["x_m"] += index % columns * dx_m
        one["y_m"] += index // columns * dy_m
        whole = {**one, "driver": head["driver"], "path": head["path"], "source": head["source"]}
        made.append(_made(profile, whole, one_twin))
    return made


def _numbered(value: Any, n: int) -> Any:
    """A value with ``{n}`` in its texts replaced."""
    if isinstance(value, str):
        return value.format(n=n)
    if isinstance(value, dict):
        return {key: _numbered(one, n) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbered(one, n) for one in value]
    return value


def _made(profile: Profile, head: dict[str, Any], twin: Twin | None) -> tuple[Device, list[Tag]]:
    prefix = f"{head['area']}.{head['name']}"
    tags: list[Tag] = []

    def tagged(one: ProfilePoint[Point] | ProfilePoint[Setpoint]) -> str:
        name = f"{prefix}.{one.quantity}"
        tags.append(
            Tag(
                name=name,
                owner=FAMILIES[profile.driver],
                description_ko=f"{head['label_ko']} {one.ko}",
                description_en=f"{head['label_en']}, {one.en}",
                simulated=twin is not None,
                **one.tag,
            )
        )
        return name

    device = Device(
        **head,
        scan=profile.scan,
        timeout_s=profile.timeout_s,
        health=profile.health,
        profile=profile.name,
        points=tuple(replace(one.point, tag=tagged(one)) for one in profile.points),
        commands=tuple(_command_of(one.point, tagged(one)) for one in profile.commands),
        setpoints=tuple(_of_device(one, head["name"], prefix) for one in profile.setpoints),
        twin=twin,
    )
    return device, tags


def _command_of(one: Setpoint, tag: str) -> Setpoint:
    return replace(one, tag=tag, feedback_tag=tag)


def _of_device(one: Setpoint, name: str, prefix: str) -> Setpoint:
    """A profile's set-point: ``{name}`` in its tag is the device; its feedback is a quantity of the device."""
    feedback = one.feedback_tag if "." in one.feedback_tag else f"{prefix}.{one.feedback_tag}"
    return replace(one, tag=one.tag.replace("{name}", name), feedback_tag=feedback)


__all__ = ["Fleet", "Profile", "ProfilePoint", "read_devices", "read_profile"]
