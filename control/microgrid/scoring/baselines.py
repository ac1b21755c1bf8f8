"""What a controller is compared with: nobody at all, and a loop that gives the batteries all that is missing.

Both know the tags of the site as the controller does. Neither looks at the state of charge, sheds load, or leads the
angle of a closing breaker; devices, relays and their fail-safe states protect the city beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.core.closed_loop.interface import Floats, Qualities, Told
from gwanje.core.tags.quality import Quality

LOADS = (
    "jincheon.homes", "jincheon.clinic", "jincheon.factory", "jincheon.shops", "jincheon.ev_site", "eumseong.ev_site2",
    "eumseong.heat_pump", "eumseong.pump_station", "eumseong.homes2", "city.lamps",
)  # fmt: skip
SOURCES = (
    "jincheon.pv_roof", "eumseong.pv_float", "jincheon.pv_school", "jincheon.pv_parking", "eumseong.wind1",
    "eumseong.wind2", "jincheon.diesel1", "eumseong.chp1",
)  # fmt: skip
BATTERIES = {"jincheon.ess1": 500e3, "eumseong.ess2": 500e3, "jincheon.storage1": 100e3}
"""Their greatest power, W."""
FORMING = ("jincheon.ess1", "eumseong.ess2")
BAD = int(Quality.BAD)


class NoController:
    """Commands nothing."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    period_s = 1.0

    def step(self, now_s: float, values: Floats, quality: Qualities, age_s: Floats, out: Floats) -> None:
        """Nothing."""

    def ask(self, what: str, values: Mapping[str, float | str]) -> str:
        """Nobody is there to take a request."""
        return "no controller"

    def told(self) -> Sequence[Told]:
        """Nothing."""
        return ()

    def state(self) -> Mapping[str, float | str]:
        """None."""
        return {"mode": "none"}


class DeadBeat:
    """Each second the batteries are told all that is missing, in proportion to their power.

    Connected: import − wanted import. Islanded: loads − generation. Asked to island it wants an import of nothing and
    opens when it sees little; asked to reconnect it closes when its last look was inside the window, with no lead.
    """

    reads: tuple[str, ...] = (
        "grid.tie.import_w", "grid.breaker.closed", "grid.breaker.tripped", "grid.breaker.angle_rad",
        "grid.breaker.slip_hz", "grid.tie.voltage_v",
        *(f"{one}.load_w" for one in LOADS),
        *(f"{one}.generation_w" for one in SOURCES),
        *(f"{one}.discharge_w" for one in BATTERIES),
    )  # fmt: skip
    writes: tuple[str, ...] = (
        *(f"{one}.discharge_setpoint_w" for one in BATTERIES),
        *(f"{one}.forming_command" for one in FORMING),
        "grid.breaker.close_command",
        "grid.breaker.reset_command",
        "jincheon.diesel1.start_command",
    )
    period_s = 1.0

    def __init__(self) -> None:
        self._read = {tag: k for k, tag in enumerate(self.reads)}
        self._write = {tag: k for k, tag in enumerate(self.writes)}
        self._import_wanted_w = math.nan
        self._wish = ""
        self._mode = "connected"

    def step(self, now_s: float, values: Floats, quality: Qualities, age_s: Floats, out: Floats) -> None:
        """One second's orders."""
        out[:] = math.nan

        def seen(tag: str, otherwise: float) -> float:
            at = self._read[tag]
            value = float(values[at])
            return otherwise if quality[at] & BAD or math.isnan(value) else value

        closed = seen("grid.breaker.closed", 1.0) > 0.5
        self._mode = "connected" if closed else "islanded"
        import_w = seen("grid.tie.import_w", 0.0)
        if math.isnan(self._import_wanted_w):
            self._import_wanted_w = import_w
        delivered_w = {one: seen(f"{one}.discharge_w", 0.0) for one in BATTERIES}
        if closed:
            wanted_w = 0.0 if self._wish == "island" else self._import_wanted_w
            total_w = sum(delivered_w.values()) + import_w - wanted_w
        else:
            total_w = sum(seen(f"{one}.load_w", 0.0) for one in LOADS)
            total_w -= sum(seen(f"{one}.generation_w", 0.0) for one in SOURCES)
        rated_w = sum(BATTERIES.values())
        share = min(max(total_w / rated_w, -1.0), 1.0)
        for one, most_w in BATTERIES.items():
            out[self._write[f"{one}.discharge_setpoint_w"]] = share * most_w
        forming = 1.0 if not closed or self._wish == "island" else 0.0
        for one in FORMING:
            out[self._write[f"{one}.forming_command"]] = forming
        self._breaker(closed, import_w, seen, out)

    def _breaker(self, closed: bool, import_w: float, seen: Any, out: Floats) -> None:
        order = self._write["grid.breaker.close_command"]
        if self._wish == "island" and closed and abs(import_w) < 50e3:
            out[order], self._wish = 0.0, ""
        elif self._wish == "reconnect" and not closed:
            if seen("grid.breaker.tripped", 0.0) > 0.5:
                out[self._write["grid.breaker.reset_command"]] = 1.0
            if abs(seen("grid.breaker.angle_rad", math.pi)) < math.radians(10.0):
                out[order] = 1.0
        elif self._wish == "reconnect":
            self._wish = ""
        elif self._wish == "black_start":
            out[self._write["jincheon.diesel1.start_command"]] = 1.0

    def ask(self, what: str, values: Mapping[str, float | str]) -> str:
        """Takes island, reconnect, black_start and import_setpoint."""
        if what == "import_setpoint":
            self._import_wanted_w = float(values["w"])
        elif what in ("island", "reconnect", "black_start"):
            self._wish = what
        else:
            return f"knows no {what}"
        return ""

    def told(self) -> Sequence[Told]:
        """Nothing."""
        return ()

    def state(self) -> Mapping[str, float | str]:
        """Its mode."""
        return {"mode": self._mode}


def open_none(site_root: Path, options: Mapping[str, Any]) -> NoController:
    """No controller."""
    return NoController()


def open_dead_beat(site_root: Path, options: Mapping[str, Any]) -> DeadBeat:
    """The loop of one second."""
    return DeadBeat()
