"""Device profiles and fleets: what a kind of device has is said once, its devices are listed or numbered.

``profiles/NAME.toml`` holds ``[profile]`` (driver, scan class, time-out, identity and the driver's own ``params``) and
``[[point]]``, ``[[setpoint]]`` and ``[[command]]`` whose ``quantity`` becomes the last word of a tag: a device
``jincheon.lamp0001`` with the profile's quantity ``dim_pct`` has the tag ``jincheon.lamp0001.dim_pct``. In
``devices/*.toml`` a ``[[device]]`` names its profile, and a ``[[fleet]]`` makes many of one: in its texts ``{n}``
stands for the number, ports count up from ``port`` by ``port_step``. Texts of the profile itself are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from gwanje.core.site.device_files import (
    WORD,
    Register,
    address_keys,
    read_command,
    read_device,
    read_head,
    read_scales,
    read_setpoint,
    read_twin,
)
from gwanje.core.site.devices import FAMILIES, FLEET_MAX, HEALTH, SCAN_CLASSES, Device, Point, Setpoint, Twin
from gwanje.core.site.tag_files import check_promise, read_quantity
from gwanje.core.site.toml_reader import Document, Reader
from gwanje.core.tags.table import Tag

Written = TypeVar("Written", Point, Setpoint)

PORT_MAX = 65_535
NUMBERED = ("name", "area", "label_ko", "label_en", "via", "address", "host")
"""Keys of a fleet in whose texts ``{n}`` stands for the number; beside these, texts in its ``params`` and ``twin``."""


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
        sound: nothing is wrong with the file; of one that is not, no device is made.
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
    sound: bool = True


@dataclass(slots=True)
class Fleet:
    """What the files ``devices/*.toml`` come to.

    Attributes:
        devices: all, in the order of the files.
        tags: of devices with a profile.
        whole: none is missing because of a mistake in its profile or fleet.
    """

    devices: tuple[Device, ...] = ()
    tags: list[Tag] = field(default_factory=list)
    whole: bool = True


def read_profile(name: str, document: Document) -> Profile:
    """A profile's file."""
    root = document.root()
    head = root.reader("profile", required=not document.problems) or Reader(document, ("profile",), {"driver": "mqtt"})
    driver = head.text("driver", choices=tuple(FAMILIES))
    scan = head.text("scan", "normal", choices=SCAN_CLASSES)
    if driver not in FAMILIES:  # every key of its points would be strange
        return Profile(name, driver, scan, 1.0, HEALTH[0], {}, (), (), (), sound=False)
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
    return replace(profile, sound=not document.problems)


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
    if reader.has("quantity") and not WORD.fullmatch(quantity):
        reader.problem("quantity", f"{quantity!r} is not a word of small letters, digits and _")
    check_promise(reader, quantity, quantity, tag["unit"])
    return quantity, tag, tag.pop("ko"), tag.pop("en")


def read_devices(documents: Mapping[str, Document], profiles: Mapping[str, Profile]) -> Fleet:
    """All devices of a site.

    Args:
        documents: ``devices/*.toml`` by the name they are shown as.
        profiles: by name.
    """
    register, tags, whole = Register(), [], True
    for document in documents.values():
        root = document.root()
        for reader in root.readers("device"):
            if not reader.has("profile"):
                if (own := read_device(reader)) is None:
                    whole = False
                else:
                    register.add(own, reader)
            elif (profile := _profile_of(reader, profiles)) is None:
                whole = False
            else:
                device, made = _instance(reader, profile)
                register.add(device, reader)
                tags += made
        for reader in root.readers("fleet"):
            profile = _profile_of(reader, profiles)
            whole &= profile is not None and _take_fleet(reader, profile, register, tags)
        root.finish()
    if whole:
        register.check_ways(documents)
    return Fleet(tuple(register.devices), tags, whole)


def _take_fleet(reader: Reader, profile: Profile, register: Register, tags: list[Tag]) -> bool:
    """Take up a fleet's devices, up to the first that cannot be: one mistake is not told a thousand times."""
    count = len(reader.document.problems)
    for device, made in _fleet(reader, profile):
        register.add(device, reader)
        tags += made
        if len(reader.document.problems) > count:
            break
    return len(reader.document.problems) == count


def _profile_of(reader: Reader, profiles: Mapping[str, Profile]) -> Profile | None:
    """The profile that a table names; None when there is none, or when something is wrong with it (told there)."""
    name = reader.text("profile")
    if name not in profiles and reader.has("profile"):
        known = ", ".join(sorted(profiles)) or "none"
        reader.problem("profile", f"no profile {name!r} in profiles/ (known: {known})")
    found = profiles.get(name)
    return found if found is not None and found.sound else None


def _common(reader: Reader, profile: Profile) -> dict[str, Any]:
    head = read_head(reader, profile.driver)
    head["port"] = 0 if head["via"] else reader.integer("port", 0, 0, 65_535)
    head["x_m"] = reader.number("x_m", 0.0, -20_000, 20_000) if reader.has("x_m") else float("nan")
    head["y_m"] = reader.number("y_m", 0.0, -20_000, 20_000) if reader.has("y_m") else float("nan")
    return head


def _instance(reader: Reader, profile: Profile) -> tuple[Device, list[Tag]]:
    head = _common(reader, profile)
    head["own_params"] = frozenset(head["params"])
    head["params"] = {**profile.params, **head["params"]}
    twin = read_twin(reader.reader("twin"))
    reader.finish()
    return _made(profile, head, twin)


def _fleet(reader: Reader, profile: Profile) -> Iterator[tuple[Device, list[Tag]]]:
    """The devices of a ``[[fleet]]``, up to the first that cannot be made; none when a key is wrong."""
    count = len(reader.document.problems)
    numbers = reader.sequence("n", required=True)
    step = reader.integer("port_step", 0, 0, 1_000)
    columns = reader.integer("columns", 100, 1, 1_000)
    dx_m, dy_m = (reader.number(key, 0.0, -1_000, 1_000) for key in ("dx_m", "dy_m"))
    head = _common(reader, profile)
    twin = read_twin(reader.reader("twin"))
    reader.finish()
    if len(reader.document.problems) > count or not _fits(reader, numbers, head["name"]):
        return
    texts = {key: head[key] for key in NUMBERED if head[key]}
    for index, n in enumerate(range(numbers[0], numbers[1] + 1)):
        one = {key: _numbered(reader, key, text, n) for key, text in texts.items()}
        params = _numbered(reader, "params", head["params"], n)
        own_twin = None if twin is None else _numbered(reader, "twin", twin.params, n)
        if None in one.values() or params is None or (twin is None) != (own_twin is None):
            return
        port = head["port"] + index * step if head["port"] else 0
        if port > PORT_MAX:
            reader.problem("port_step", f"port {port} of device {one['name']!r} is above {PORT_MAX}")
            return
        whole = {
            **head, **one,
            "params": {**profile.params, **params},
            "own_params": frozenset(params),
            "port": port,
            "x_m": head["x_m"] + index % columns * dx_m,
            "y_m": head["y_m"] + index // columns * dy_m,
        }  # fmt: skip
        yield _made(profile, whole, None if twin is None or own_twin is None else Twin(twin.kind, own_twin))


def _fits(reader: Reader, numbers: Sequence[Any], name: str) -> bool:
    """Whether a fleet can be counted."""
    whole = len(numbers) == 2 and all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
    if not (whole and 0 <= numbers[0] <= numbers[1]):
        reader.problem("n", f"must be [first, last], whole numbers from 0 on, is {list(numbers)!r}")
        return False
    if numbers[1] - numbers[0] >= FLEET_MAX:
        reader.problem("n", f"{numbers[1] - numbers[0] + 1} devices, at most {FLEET_MAX}")
        return False
    if "{n" not in name:
        reader.problem("name", "must hold {n}, for every device has a name of its own")
        return False
    return True


def _numbered(reader: Reader, key: str, value: Any, n: int) -> Any:
    """A value with ``{n}`` in its texts replaced; None when its braces hold anything else."""
    try:
        return _replaced(value, n)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        reader.problem(key, f"cannot be expanded: only {{n}} may stand in braces ({error})")
        return None


def _replaced(value: Any, n: int) -> Any:
    if isinstance(value, str):
        return value.format(n=n) if "{" in value or "}" in value else value
    if isinstance(value, dict):
        return {key: _replaced(one, n) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, n) for one in value]
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
