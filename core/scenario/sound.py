"""Scenarios of sounds (``[sound]`` in ``scenarios/NAME.toml``): what is played where, and what a city makes of it.

Truth is what was played and what the simulators say; what the city says of itself is compared with it. Times count from
the moment at which a sound begins at its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import ConfigErrors, Document, Reader

TABLE = "sound"
PLACE_M_MAX = 20_000.0
LISTEN_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Happening:
    """A sound at a place, and what is expected of it.

    Attributes:
        file: recording below ``io/sim/sounds``, with its licence beside it, or a path.
        x_m: metres east.
        y_m: north.
        height_m: above the street.
        snr_db: at the nearest node.
        listen_s: how long the city is watched after it began.
        kind: class of the one incident that it must be; empty when it must be none of one place.
        within_m: how far its place may be off.
        camera_within_s: until when the right camera stands at the right preset; 0 when none is asked for.
        lamps: how many must be bright in the end.
        alarm: whether an alarm must be raised; without ``kind`` none may be.
    """

    file: str
    x_m: float
    y_m: float
    height_m: float
    snr_db: float
    listen_s: float
    kind: str
    within_m: float
    camera_within_s: float
    lamps: int
    alarm: bool


@dataclass(frozen=True, slots=True)
class SoundScenario:
    """One script.

    Attributes:
        name: of its file.
        families: of the city, as in :class:`gwanje.core.scenario.script.Scenario`.
        settle_s: until when the city must be well.
        quiet_s: how long its streets are listened to before the first sound.
        script: whether the streets' own happenings go on beside.
    """

    name: str
    ko: str
    en: str
    families: tuple[str, ...]
    settle_s: float
    quiet_s: float
    script: bool
    happenings: tuple[Happening, ...]

    @property
    def length_s(self) -> float:
        """How long its sounds are listened to."""
        return self.quiet_s + sum(one.listen_s for one in self.happenings)


def sound_names(site_root: Path) -> list[str]:
    """Scenarios of sounds that a site has; one that cannot be read is none of them."""
    return [
        path.stem for path in sorted((site_root / "scenarios").glob("*.toml"))
        if TABLE in Document.load(path, path.name).content
    ]  # fmt: skip


def load_sound(site_root: Path, name: str) -> SoundScenario:
    """Read one.

    Raises:
        ConfigErrors: with every problem found.
    """
    document = Document.load(site_root / "scenarios" / f"{name}.toml", f"{site_root.name}/scenarios/{name}.toml")
    root = document.root()
    head = root.reader(TABLE) or Reader(document, (TABLE,), {})
    families = head.sequence("families")
    if not all(isinstance(one, str) for one in families):
        head.problem("families", "must be names of families")
        families = []
    found = SoundScenario(
        name, head.text("ko"), head.text("en"), tuple(families), head.number("settle_s", 60.0, 1.0, 600.0),
        head.number("quiet_s", 8.0, 0.0, 600.0), head.flag("script", False),
        tuple(_happening(one) for one in root.readers("happening", required=True)),
    )  # fmt: skip
    head.finish()
    root.finish()
    if document.problems:
        raise ConfigErrors(document.problems)
    return found


def _happening(reader: Reader) -> Happening:
    one = Happening(
        reader.text("file"), reader.number("x_m", None, -PLACE_M_MAX, PLACE_M_MAX),
        reader.number("y_m", None, -PLACE_M_MAX, PLACE_M_MAX), reader.number("height_m", 1.2, 0.0, 10_000.0),
        reader.number("snr_db", 20.0, -30.0, 60.0), reader.number("listen_s", 8.0, 1.0, LISTEN_S_MAX),
        reader.text("class", ""), reader.number("within_m", 2.0, 0.1, 1_000.0),
        reader.number("camera_within_s", 0.0, 0.0, 60.0), reader.integer("lamps", 0, 0, 50),
        reader.flag("alarm", False),
    )  # fmt: skip
    if not one.kind and (one.camera_within_s or one.lamps or one.alarm):
        reader.problem("class", "without a class nothing may follow: no camera, lamps or alarm can be asked for")
    reader.finish()
    return one


def right_preset(site: Site, x_m: float, y_m: float) -> tuple[str, int] | None:
    """The camera nearest to a place and the preset of it that looks there best, from the site's files alone."""
    at = {one.name: (one.x_m, one.y_m) for one in site.nodes}
    cameras = [
        (math.dist(at[one.params["node"]], (x_m, y_m)), one.name, one.params)
        for one in site.devices
        if one.driver == "onvif" and one.params.get("node") in at and one.params.get("preset_deg")
    ]
    if not cameras:
        return None
    _, name, params = min(cameras, key=lambda one: one[:2])
    own_x, own_y = at[params["node"]]
    bearing_deg = math.degrees(math.atan2(x_m - own_x, y_m - own_y)) - float(params.get("facing_deg", 0.0))

    def off(number: Any) -> float:
        return abs(math.remainder(float(params["preset_deg"][number]) - bearing_deg, 360.0))

    return name, int(min(params["preset_deg"], key=off))


@dataclass(slots=True)
class Seen:
    """What came of one sound.

    Attributes:
        begin_mono_ns: when it began at its place.
        incidents: as the part ``acoustic`` lists them, those that began since.
        alarms: names of alarms that were raised by incidents, with the monotonic time of their message.
        told_s: until the first incident was told.
        command_ms: from telling it to the camera's command leaving.
        preset_s: until the right camera stood at the right preset.
        lamps: that were bright in the end, of those around.
    """

    begin_mono_ns: int = 0
    incidents: list[Mapping[str, Any]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    told_s: float | None = None
    alarm_s: float | None = None
    command_ms: float | None = None
    preset_s: float | None = None
    lamps: int = 0


def judge(wanted: Happening, seen: Seen) -> tuple[dict[str, Any], list[str]]:
    """Figures of one sound, and what is wrong with them."""
    placed = [one for one in seen.incidents if one["class"] != "city_wide" and not one["merged_into"]]
    off_m = None
    wrong: list[str] = []
    if not wanted.kind:
        if placed:
            wrong.append(f"{len(placed)} incidents of one place, such as {placed[-1]['class']}")
        if seen.alarms:
            wrong.append(f"alarms: {', '.join(seen.alarms)}")
    else:
        wrong += _of_one(wanted, placed)
        place = placed[0]["place"] if len(placed) == 1 else None
        if place is not None:
            off_m = math.dist((place["x_m"], place["y_m"]), (wanted.x_m, wanted.y_m))
            if off_m > wanted.within_m:
                wrong.append(f"placed {off_m:.1f} m away")
        elif placed:
            wrong.append("not placed")
        if wanted.alarm and not seen.alarms:
            wrong.append("no alarm")
        if wanted.camera_within_s and (seen.preset_s is None or seen.preset_s > wanted.camera_within_s):
            when = "never" if seen.preset_s is None else f"after {seen.preset_s:.2f} s"
            wrong.append(f"camera at its preset {when}, not within {wanted.camera_within_s:g} s")
        if seen.lamps < wanted.lamps:
            wrong.append(f"{seen.lamps} lamps up, not {wanted.lamps}")
    figures = {
        "file": wanted.file, "class": wanted.kind, "incidents": len(placed), "off_m": _rounded(off_m),
        "nodes": max((len(one["nodes"]) for one in placed), default=0),
        "city_wide": sum(one["class"] == "city_wide" for one in seen.incidents), "alarms": seen.alarms,
        "told_s": _rounded(seen.told_s), "alarm_s": _rounded(seen.alarm_s), "command_ms": _rounded(seen.command_ms),
        "preset_s": _rounded(seen.preset_s), "lamps": seen.lamps, "passed": not wrong, "why": "; ".join(wrong),
        "found": [
            {"incident": one["incident"], "class": one["class"], "nodes": one["nodes"],
             "merged_into": one["merged_into"],
             "begin_s": _rounded((one["begin_mono_ns"] - seen.begin_mono_ns) / 1e9), "place": one["place"],
             "why_not": one["why_not"]}
            for one in seen.incidents
        ],
    }  # fmt: skip
    return figures, wrong


def _of_one(wanted: Happening, placed: list[Mapping[str, Any]]) -> Iterable[str]:
    if len(placed) != 1:
        classes = ", ".join(str(one["class"]) for one in placed)
        yield f"found {len(placed)} times" + (f": {classes}" if placed else "")
    elif placed[0]["class"] != wanted.kind:
        yield f"taken for {placed[0]['class']}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
