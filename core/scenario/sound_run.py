"""Carrying out a scenario of sounds in a running city: play, listen, look at cameras and lamps, judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.bus.bus import Subscriber
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.scenario.city import City, CityError
from gwanje.core.scenario.sound import Happening, Seen, SoundScenario, judge, right_preset
from gwanje.core.site.config import Site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

LOOK_S = 0.02
"""Between two looks at the camera: what it adds to the measured time at most."""
LAMP_REACH_M = 60.0
BRIGHT_PCT = 95.0
INCIDENTS_MAX = 100

Say = Callable[[str], None]


def without_script(site_root: Path) -> None:
    """Take the streets' own happenings out of a copy of a site: what is heard then was played."""
    for path in (site_root / "nodes.toml", *(site_root / "nodes").glob("*.toml")):
        kept, inside = [], False
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("["):
                inside = line.startswith("[[script]]")
            if not inside:
                kept.append(line)
        path.write_text("".join(kept), encoding="utf-8")


class SoundRun:
    """One scenario of sounds.

    Args:
        scenario: the script.
        city: attached.
        store: of the city.
        clock: of the machine.
        say: told a line of every sound.
    """

    def __init__(self, scenario: SoundScenario, city: City, store: TagStore, clock: Clock, say: Say) -> None:
        self._scenario, self._city, self._store, self._clock, self._say = scenario, city, store, clock, say
        self._site: Site = city.site
        self._messages: Subscriber = city.hear(["event", "alarm"], ["acoustic", "core"])
        self._alarms = {one.id for one in self._site.event_alarms if one.kind == "incident"}
        self.figures: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def settle(self) -> float:
        """Wait until every device is online, every node is heard and the classifier runs; how long it took.

        Raises:
            CityError: not in time.
        """
        devices = [f"{one.prefix}.online" for one in self._site.devices]
        nodes = [f"{one.prefix}.health" for one in self._site.nodes]
        names = [*devices, *nodes, "system.acoustic.model"]
        ids = self._site.tags.indices(names)
        wanted = np.array([1.0] * len(devices) + [0.0] * len(nodes) + [1.0])
        begun_ns = self._clock.mono_ns()
        while True:
            now = self._clock.mono_ns()
            seen = self._store.read_many(ids, now)
            well = ((seen.quality & Quality.BAD) == 0) & (seen.value == wanted)
            took_s = (now - begun_ns) / NS_PER_S
            if well.all():
                break
            if took_s > self._scenario.settle_s:
                missing = [names[at] for at in np.flatnonzero(~well).tolist()]
                raise CityError(f"{len(missing)} not well after {took_s:.0f} s, such as {', '.join(missing[:5])}")
            self._turn(None, None)
            self._city.wait(0.1)
        until_ns = self._clock.mono_ns() + round(self._scenario.quiet_s * NS_PER_S)
        while self._clock.mono_ns() < until_ns:  # noise floors find their streets
            self._turn(None, None)
            self._city.wait(0.1)
        return took_s

    def carry_out(self) -> bool:
        """All sounds, one after another; whether everything was as it must be."""
        for one in self._scenario.happenings:
            figures, wrong = self._happen(one)
            self.figures.append(figures)
            self.failures += [f"{one.file}: {why}" for why in wrong]
            self._say(_line(figures))
        return not self.failures

    def _happen(self, wanted: Happening) -> tuple[dict[str, Any], list[str]]:
        aim = right_preset(self._site, wanted.x_m, wanted.y_m) if wanted.camera_within_s else None
        if wanted.camera_within_s and aim is None:
            raise CityError("no camera of this city knows where its presets look")
        lamps = self._lamps_around(wanted) if wanted.lamps else ()
        self._turn(None, None)
        seen = Seen()
        answer = self._city.ask("simsound", {
            "op": "play", "file": wanted.file, "x_m": wanted.x_m, "y_m": wanted.y_m, "height_m": wanted.height_m,
            "snr_db": wanted.snr_db,
        })  # fmt: skip
        seen.begin_mono_ns = int(answer["start_mono_ns"])
        until_ns = seen.begin_mono_ns + round(wanted.listen_s * NS_PER_S)
        while self._clock.mono_ns() < until_ns:
            if not self._city.running():
                raise CityError(f"the city ended: {self._city.said()}")
            self._turn(seen, aim)
            self._city.wait(LOOK_S)
        seen.lamps = sum(float(self._city.truth("simcity", one)["level_pct"]) >= BRIGHT_PCT for one in lamps)
        found = self._city.ask("acoustic", {"op": "incidents", "limit": INCIDENTS_MAX})["incidents"]
        seen.incidents = [one for one in found if one["begin_mono_ns"] >= seen.begin_mono_ns - NS_PER_S]
        return judge(wanted, seen)

    def _lamps_around(self, wanted: Happening) -> Sequence[str]:
        """Lamps near a place that do not shine yet: those of the day's programme would show nothing."""
        near = [
            one.name for one in self._site.devices
            if "road_class" in one.params and one.via and one.driver == "talq"
            and math.dist((one.x_m, one.y_m), (wanted.x_m, wanted.y_m)) <= LAMP_REACH_M
        ]  # fmt: skip
        return [one for one in near if float(self._city.truth("simcity", one)["level_pct"]) < BRIGHT_PCT]

    def _turn(self, seen: Seen | None, aim: tuple[str, int] | None) -> None:
        """Take what has come, and look at the camera; without ``seen`` what has come is past."""
        while (message := self._messages.receive()) is not None:
            if seen is None:
                continue
            now_s = (self._clock.mono_ns() - seen.begin_mono_ns) / NS_PER_S
            match message:
                case Event(kind="incident") if message.mono_ns >= seen.begin_mono_ns - NS_PER_S:
                    seen.told_s = now_s if seen.told_s is None else seen.told_s
                case Event(kind="incident_update", class_name="camera_turned") if seen.command_ms is None:
                    seen.command_ms = float(message.data["asked_ms"])
                case AlarmChange(state="unack_active") if message.alarm_id.partition(":")[0] in self._alarms:
                    seen.alarms.append(message.alarm_id)
                    seen.alarm_s = now_s if seen.alarm_s is None else seen.alarm_s
        if seen is not None and aim is not None and seen.preset_s is None and seen.told_s is not None:
            name, preset = aim
            token = str(self._city.truth("simcity", name)["preset"])
            if token.endswith(str(preset)):
                seen.preset_s = (self._clock.mono_ns() - seen.begin_mono_ns) / NS_PER_S

def _line(figures: dict[str, Any]) -> str:
    word = "ok     " if figures["passed"] else "FAILED "
    words = [f"{word} {figures['file']}: {figures['incidents']} incidents"]
    for key, text in (("off_m", "{} m off"), ("told_s", "told after {} s"), ("command_ms", "camera commanded in {} ms"),
                      ("preset_s", "at its preset after {} s"), ("alarm_s", "alarm after {} s")):  # fmt: skip
        if figures[key] is not None:
            words.append(text.format(figures[key]))
    if figures["city_wide"]:
        words.append("taken for the whole city")
    if figures["lamps"]:
        words.append(f"{figures['lamps']} lamps up")
    return ", ".join(words) + (f"; {figures['why']}" if figures["why"] else "")
