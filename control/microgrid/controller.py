"""The microgrid's controller: guard, laws and supervisor on one process image, composed for the closed loop.

Every 10 ms the image is judged and the guard looks at it; the tie-line law follows at its own period, the laws of the
island and of reactive power every 100 ms, the supervisor every second. All of them only say what they want: the last
stage (:mod:`gwanje.control.microgrid.layers.commands`) lets nothing beyond bounds and ramps. When the mode machine
changes the law, the new one begins from what is commanded at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.image import Floats, Image, write_layout
from gwanje.control.microgrid.layers import guard
from gwanje.control.microgrid.layers.commands import BEYOND_RATING, Commands
from gwanje.control.microgrid.layers.fleet import Sharing
from gwanje.control.microgrid.layers.island_law import IslandLaw, stiffness_w_per_hz, taken_over_w
from gwanje.control.microgrid.layers.reactive import ReactiveLaw
from gwanje.control.microgrid.layers.supervisor import Supervisor
from gwanje.control.microgrid.layers.tie_law import TieLaw
from gwanje.control.microgrid.modes import machine as modes
from gwanje.control.microgrid.modes.types import Law, Line, Mode, ModeInputs, ModeOutputs, Order, Request
from gwanje.control.microgrid.settings import Settings, read_settings
from gwanje.control.microgrid.tunable import not_live
from gwanje.control.microgrid.units import Units
from gwanje.core.closed_loop.interface import Controller, Qualities, Told
from gwanje.ext.reference.tie_line import HOLD, RUN

TIE_LAWS = (Law.TIE, Law.DRIVE_TIE_TO_ZERO)
ISLAND_LAWS = (Law.ISLAND, Law.SYNC, Law.ENERGISE)
QUICK_MODES = (Mode.RESYNC, Mode.UNPLANNED, Mode.ISLANDING)
"""Modes whose machine is stepped in every period: their orders depend on angles and frames."""
LOST_S = 0.16
"""How long the utility must be beyond its trip limits to count as lost."""
LIVE_PU = 0.3
GRID_FILTER_S = 0.3
"""While connected the forming units' set-point follows the utility's frequency with this, so that their droop rests."""
GRID_REACH_HZ = 0.1
"""… but no farther from nominal than this."""
TARGET_HZ_PER_S = 0.2
"""The frequency that an island is to have moves so fast, when it is to turn past the utility: no step of power."""
FORWARD_SHARE = 0.5
"""Of the batteries' ramps, with which set-points take over a lost import: no step beside the changes of mode."""
OVER_S = 0.5
"""What is carried over into the tie-line law fades out with this."""
TOLD_MAX = 1000
"""Lines kept for a caller that does not fetch them."""


class MicrogridController:
    """Controller of one microgrid; see the interface for its methods.

    Args:
        settings: of the site.
        clock_offset_s: wall clock less the run's clock, for the quarter hours.
    """

    def __init__(self, settings: Settings, clock_offset_s: float = 0.0) -> None:
        self.settings = settings
        self.image = Image(settings)
        self.writes = write_layout(settings)
        self.reads = self.image.reads
        self.period_s = settings.timing.guard_s
        self.commands = Commands(self.writes)
        self.units = Units(settings, self.image, self.commands)
        self.tie, self.island = TieLaw(settings, self.image), IslandLaw(settings)
        self.reactive = ReactiveLaw(settings)
        self.sharing = Sharing(settings.battery, settings.limits)
        self.supervisor = Supervisor(settings, self.image, self.commands, self.units, clock_offset_s)
        self._guard, self._guard_out = guard.GuardState(), guard.GuardOutputs()
        self._modes: modes.ModeState | None = None
        self._out: ModeOutputs | None = None
        self._law = Law.TIE
        self._requests: set[Request] = set()
        self._told: list[Told] = []
        self._ticks = self._moded = 0
        self._now_s = math.nan
        self._lost_s = 0.0
        self._state: dict[str, float | str] | None = None
        self._grid_hz = math.nan
        self._generators_w = 0.0
        self._opens = False
        self._over_w: list[float] | None = None
        self._fault = False
        self._setpoint_w = math.nan
        self._forward_w = self._stiffness = 0.0
        self._target_hz = settings.site.nominal_hz
        self.residual_w = self.shortage_w = 0.0
        timing, index, to = settings.timing, self.image.index, self.commands.index
        self._every = [round(one / timing.guard_s) for one in (timing.tie_s, timing.secondary_s, timing.supervisor_s)]
        self._closed_at, self._tripped_at = index["grid.breaker.closed"], index["grid.breaker.tripped"]
        self._import_at, self._bus_at = index["grid.tie.import_w"], index["grid.bus.voltage_v"]
        self._breaker_to, self._reset_to = to["grid.breaker.close_command"], to["grid.breaker.reset_command"]

    # -- the loop's interface

    def step(self, now_s: float, values: Floats, quality: Qualities, age_s: Floats, out: Floats) -> None:
        """One period; see the interface."""
        dt_s = now_s - self._now_s
        dt_s = dt_s if 0.0 < dt_s < 1.0 else self.period_s
        self._now_s = now_s
        self.image.take(now_s, values, quality, age_s)
        tie_n, secondary_n, supervisor_n = self._every
        secondary = self._ticks % secondary_n == 0
        if secondary:
            self.units.look(self.settings.timing.secondary_s)
        else:
            self.units.tighten()
        self._watch(dt_s)
        if secondary or self._guard_out.opened or self._out is None or self._out.mode in QUICK_MODES:
            self._mode()
        if self._ticks % tie_n == 0:
            self._tie_step()
        if secondary:
            self._secondary(self.settings.timing.secondary_s)
        elif self._forward_w and self._stiffness:
            self._forward(dt_s)
        if self._ticks % supervisor_n == 0:
            self._supervise(self.settings.timing.supervisor_s)
        if secondary:
            self.supervisor.repeat()
        self._ticks += 1
        self.commands.advance(dt_s, out)

    def ask(self, what: str, values: Mapping[str, float | str]) -> str:
        """An operator's request; the reason against it, empty when it is taken.

        ``island``, ``reconnect``, ``black_start``, ``cancel``, ``reset_lockout``; ``lock_out`` after protection has
        acted and ``clear_fault`` when it is over; ``import_setpoint`` and ``import_limit`` with ``w`` (without: back to
        the site's own), ``reactive_setpoint`` with ``var``, ``demand_cap`` with ``w``; ``ready`` with ``on`` (1, 0): be
        ready for an island by all means, or only by those of the site's settings.
        """
        if what in (*Request,):
            no = self.request(Request(what))
            return "" if no is None else no.en
        if what in ("lock_out", "clear_fault"):
            self._fault = what == "lock_out"
            return ""
        if what == "reactive_setpoint":
            wanted = float(values.get("var", self.settings.reactive.import_target_var))
            if not abs(wanted) <= self.settings.site.rating_w:
                return BEYOND_RATING
            self.reactive.target_var = wanted
            return ""
        reason = self.supervisor.ask(what, values)
        if not reason and self._law is Law.TIE:  # in force with the next period, not with the next second
            self._setpoint_w = self.supervisor.setpoint_w(self._setpoint_w)
        return reason

    def request(self, request: Request) -> Line | None:
        """Take an operator's request for the next step; or the reason against it."""
        if self._modes is None:
            return Line("refused", "아직 계측값이 없음", "nothing has been measured yet")
        no = modes.refusal(self._modes, self._mode_inputs(frozenset()), self.settings.modes, request)
        if no is None:
            self._requests.add(request)
        return no

    @property
    def law(self) -> Law:
        """In force."""
        return self._law

    @property
    def mode(self) -> Mode | None:
        """Of the machine; none before breaker and bus were seen."""
        return None if self._modes is None else self._modes.mode

    @property
    def now_s(self) -> float:
        """Of the last step; NaN before the first."""
        return self._now_s

    @property
    def missed_hz(self) -> float:
        """Frequency of an island less the one that it is to have; NaN beside the utility, or when it is not known."""
        return self.image.frequency_hz - self._target_hz if self._law in ISLAND_LAWS else math.nan

    @property
    def forms(self) -> bool:
        """Whether units are to form the grid."""
        return self._out is not None and self._out.forming

    def told(self) -> Sequence[Told]:
        """What there was to tell since the last call."""
        lines, self._told = self._told, []
        return lines

    def state(self) -> Mapping[str, float | str]:
        """Mode and key figures, as of the last secondary period."""
        if self._state is None:
            self._state = self._figures()
        return self._state

    def _figures(self) -> dict[str, float | str]:
        out, units = self._out, self.units
        return {
            "mode": out.mode.value if out else "unknown",
            "law": self._law.value,
            "frequency_hz": self.image.frequency_hz,
            "import_setpoint_w": self._setpoint_w,
            "command_w": units.commanded_w() + units.generators_w(),
            "unserved_w": self.shortage_w,
            "gain_per_s": self.island.gain_per_s,
            "frozen": float(self.island.frozen),
            "soc": units.mean_soc(),
            **self.supervisor.figures(),
        }

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices, from the next period on and without a bump.

        Raises:
            ValueError: something differs that is not live (:mod:`gwanje.control.microgrid.tunable`), or a law refuses a
                parameter.
        """
        if others := not_live(self.settings, settings):
            raise ValueError(f"taken only by a new start: {', '.join(others)}")
        self.tie.retune(settings)
        self.island.retune(settings)
        self.reactive.retune(settings)
        self.supervisor.retune(settings)
        self.sharing = Sharing(settings.battery, settings.limits)
        self.units.retune(settings)
        self.settings = settings

    # -- guard and modes

    def _watch(self, dt_s: float) -> None:
        image, units = self.image, self.units
        inputs = guard.GuardInputs(
            self._now_s, image.at(self._closed_at), image.frequency_hz, image.frequency_stamp_s,
            image.at(self._import_at), self._law not in TIE_LAWS or self._opens,
            self.supervisor.armed_free_w, self.supervisor.armed_room_w, units.total_load_w,
            self.supervisor.starting_s > 0.0, image.at(self._bus_at) / self.settings.site.nominal_v,
        )  # fmt: skip
        self._guard, found = guard.step(self._guard, inputs, self.settings.guard, dt_s)
        self._guard_out = found
        if found.shed_w > 0.0:
            names = self.supervisor.shed(found.shed_w)
            if names:
                self._tell("shed", f"부하 차단 {found.shed_w / 1e3:.0f} kW: {', '.join(names)}",
                           f"shed {found.shed_w / 1e3:.0f} kW: {', '.join(names)}")  # fmt: skip
        if found.curtail_w > 0.0:
            self.supervisor.curtail(found.curtail_w)

    def _mode_inputs(self, requests: frozenset[Request]) -> ModeInputs:
        image, site, get = self.image, self.settings.site, self.image.get
        closed, bus_v = image.at(self._closed_at), image.at(self._bus_at)
        grid_pu, grid_hz = get("grid.tie.voltage_v") / site.nominal_v, get("grid.tie.frequency_hz")
        angle_at = image.index["grid.breaker.angle_rad"]
        seen_w = image.at(self._import_at)
        return ModeInputs(
            breaker_closed=closed > 0.5,
            bus_live=bus_v >= LIVE_PU * site.nominal_v,
            grid_ok=modes.utility_fit(grid_pu, grid_hz, self.settings.modes),
            breaker_tripped=image.at(self._tripped_at) > 0.5,
            grid_lost=self._lost_s >= LOST_S or self._guard_out.grid_lost,
            frequency_hz=image.frequency_hz,
            tie_w=seen_w if seen_w == seen_w else self.tie.expected_w,
            slip_hz=get("grid.breaker.slip_hz"),
            angle_rad=image.at(angle_at),
            voltage_difference_pu=get("grid.breaker.voltage_difference_pu"),
            sync_age_s=max(float(image.age_s[angle_at]), 0.0),
            forming_ok=any(self.units.forms()),
            fault=self._fault,
            stale=closed != closed or bus_v != bus_v,
            requests=requests,
        )

    def _mode(self) -> None:
        dt_s = (self._ticks - self._moded) * self.period_s
        self._moded = self._ticks
        site, get = self.settings.site, self.image.get
        grid_pu, grid_hz = get("grid.tie.voltage_v") / site.nominal_v, get("grid.tie.frequency_hz")
        lost = modes.utility_lost(grid_pu, grid_hz, self.settings.modes)
        self._lost_s = self._lost_s + dt_s if lost else 0.0
        inputs = self._mode_inputs(frozenset(self._requests))
        if self._modes is None:
            if inputs.stale:
                return
            self._modes = modes.initial(inputs.breaker_closed, inputs.bus_live)
            self._change(None, self._modes.law)
        self._requests.clear()
        self._state = None
        self._modes, out = modes.step(self._modes, inputs, self.settings.modes, dt_s)
        self._out = out
        for line in out.told:
            self._tell(line.kind, line.ko, line.en)
        if out.law is not self._law:
            self._change(self._law, out.law)
        self._opens = out.breaker is Order.OPEN or (self._opens and out.mode is Mode.ISLANDING)
        order = {Order.OPEN: 0.0, Order.CLOSE: 1.0}.get(out.breaker, math.nan)
        self._order(self._breaker_to, order)
        self._order(self._reset_to, 1.0 if out.reset_relay else math.nan)
        for one, to in zip([b for b in self.settings.battery if b.forming], self.units.forming_to, strict=True):
            self._order(to, float(out.forming and one.name in out.forming_units))

    def _order(self, to: int, value: float) -> None:
        self.commands.present[to] = self.commands.wanted[to] = value

    def _change(self, before: Law | None, law: Law) -> None:
        """Another law comes into force, from what is commanded now."""
        self._law = law
        present, wanted = self.commands.present, self.commands.wanted
        for to in self.units.power_to:
            wanted[to] = present[to]
        if law in ISLAND_LAWS and before not in ISLAND_LAWS:
            self.island.begin()
            lost_w = self._guard_out.lost_w if self._guard_out.opened else math.nan
            self._forward_w = lost_w if lost_w == lost_w else 0.0
        if law in TIE_LAWS and before not in TIE_LAWS:
            seen_w = self.image.at(self._import_at)
            self._setpoint_w = seen_w
            self.supervisor.begin_tie(seen_w)
            self.reactive.begin(self.reactive.sum_var, self.image.get("grid.tie.reactive_var"))
        if law is Law.TIE and before is Law.DRIVE_TIE_TO_ZERO:
            self.supervisor.begin_tie(self._setpoint_w)
        if law in (Law.OFF, Law.ENERGISE) and before not in (Law.OFF, Law.ENERGISE):
            self.supervisor.shed_all()

    # -- laws

    def _tie_step(self) -> None:
        if math.isnan(self._setpoint_w) and self._law in TIE_LAWS:
            # Nothing was measured when the law began: it begins now, from what is imported.
            self._setpoint_w = self.image.at(self._import_at)
            self.supervisor.begin_tie(self._setpoint_w)
        if self._guard_out.suspected and self._law in TIE_LAWS:
            # The import that is missing may be the utility itself: to restore it would pull the island down.
            for to in self.units.power_to:
                self.commands.wanted[to] = self.commands.present[to]
            return
        in_force = self._law in TIE_LAWS and self._out is not None and bool(self.image.at(self._closed_at) > 0.5)
        if self._law is Law.DRIVE_TIE_TO_ZERO:
            reach_w = self.settings.tie.drive_w_per_s * self.settings.timing.tie_s
            self._setpoint_w += min(max(-self._setpoint_w, -reach_w), reach_w)
        self.tie.step(self._setpoint_w, in_force, self.units.box, self.units.charge)
        if self._law in TIE_LAWS and self.tie.kernel.mode in (RUN, HOLD):
            self.residual_w = self.shortage_w = self.tie.kernel.unserved_w
            self._carry_over()
            for to, setpoint_w, over_w in zip(self.units.power_to, self.tie.setpoints, self._over_w or (), strict=True):
                self._want_power(to, float(setpoint_w) + over_w)
        else:
            self._over_w = None

    def _carry_over(self) -> None:
        """The law begins from what batteries deliver, the commands from what they were: the difference fades out."""
        if self._over_w is None:
            present = [float(one) for one in self.commands.present[self.units.power_to]]
            pairs = zip(present, self.tie.setpoints, strict=True)
            self._over_w = [one - float(setpoint_w) if one == one else 0.0 for one, setpoint_w in pairs]
            return
        fade = max(1.0 - self.settings.timing.tie_s / OVER_S, 0.0)
        self._over_w = [one * fade for one in self._over_w]

    def _want_power(self, to: int, wanted_w: float) -> None:
        """Only of a battery that was found: its first command is what it delivers."""
        if self.commands.present[to] == self.commands.present[to]:
            self.commands.wanted[to] = wanted_w

    def _secondary(self, dt_s: float) -> None:
        """Laws of the island and of reactive power; frequency and voltage set-points of the forming units."""
        image, units, site = self.image, self.units, self.settings.site
        voltage_pu = image.at(self._bus_at) / site.nominal_v
        grid_hz, grid_pu = image.get("grid.tie.frequency_hz"), image.get("grid.tie.voltage_v") / site.nominal_v
        target_hz, target_pu = site.nominal_hz, 1.0
        if self._law is Law.SYNC and self._out is not None and grid_hz == grid_hz:
            target_hz = grid_hz + self._out.slip_target_hz
            target_pu = grid_pu if grid_pu == grid_pu else 1.0
        if self._law in ISLAND_LAWS:
            reach_hz = TARGET_HZ_PER_S * dt_s
            self._target_hz += min(max(target_hz - self._target_hz, -reach_hz), reach_hz)
            target_hz = self._target_hz
            self._hold_island(target_hz, voltage_pu, target_pu, dt_s)
            parts = self.reactive.rest(units.abilities(), dt_s)
        else:
            self._target_hz = site.nominal_hz
            self._generators_w = units.generators_w()
            self.island.rest_voltage(dt_s)
            target_hz = self._follow_grid(dt_s)
            if self._law is Law.OFF:
                for to in units.power_to:
                    self._want_power(to, 0.0)
                parts = self.reactive.rest(units.abilities(), dt_s)
            else:
                parts = self.reactive.step(image.get("grid.tie.reactive_var"), voltage_pu, units.abilities(), dt_s)
        self.commands.wanted[units.reactive_to] = parts
        self.commands.wanted[units.frequency_to] = target_hz
        self.commands.wanted[units.voltage_to] = self.island.voltage_pu

    def _follow_grid(self, dt_s: float) -> float:
        """Set-point under which droop rests beside the utility's frequency."""
        nominal, seen_hz = self.settings.site.nominal_hz, self.image.frequency_hz
        if self._law is Law.OFF or seen_hz != seen_hz:
            self._grid_hz = math.nan
            return nominal
        if math.isnan(self._grid_hz):
            self._grid_hz = nominal
        self._grid_hz += (seen_hz - self._grid_hz) * min(dt_s / GRID_FILTER_S, 1.0)
        return min(max(self._grid_hz, nominal - GRID_REACH_HZ), nominal + GRID_REACH_HZ)

    def _hold_island(self, target_hz: float, voltage_pu: float, target_pu: float, dt_s: float) -> None:
        units, image, settings = self.units, self.image, self.settings
        batteries = list(zip(settings.battery, units.forms(), strict=True))
        generators = list(zip(settings.generator, units.running, strict=True))
        stiffness = stiffness_w_per_hz(batteries, generators, settings.site.nominal_hz)
        commanded_w, generators_w = units.commanded_w(), units.generators_w()
        # With the generators as they were: what one gives up or takes over in this period, the batteries take or leave.
        achieved_w = commanded_w + self._generators_w
        self._generators_w = generators_w
        rotating_w = sum(unit.rated_w for unit, runs in generators if runs)
        self._stiffness = stiffness
        self.island.step(
            image.frequency_hz, image.frequency_stamp_s, image.frequency_age_s, target_hz, stiffness, achieved_w,
            (units.bottom_w(), units.top_w() + rotating_w), voltage_pu, target_pu, dt_s,
        )  # fmt: skip
        present = [float(one) for one in self.commands.present[units.power_to]]
        known = [one == one for one in present]
        usable = [use and there for use, there in zip(units.usable, known, strict=True)]
        present = [one if there else 0.0 for one, there in zip(present, known, strict=True)]
        sum_w = self.island.sum_w - generators_w
        self.residual_w = self.sharing.share(sum_w, present, units.box, units.charge, usable, dt_s)
        for to, wanted_w in zip(units.power_to, self.sharing.x, strict=True):
            self._want_power(to, float(wanted_w))
        # Beyond the batteries' limits the units' droop is all that answers: what it moves is what is short (or left).
        missing_hz = target_hz - image.frequency_hz
        at_end = abs(self.residual_w) > 1.0 and missing_hz == missing_hz
        self.shortage_w = stiffness * missing_hz if at_end and self.residual_w * missing_hz > 0.0 else 0.0

    def _forward(self, dt_s: float) -> None:
        """What was imported is the units' own to give now: their droop has it already, the set-points follow."""
        units, present = self.units, self.commands.present
        droop_w = self._stiffness * (self.settings.site.nominal_hz - self.image.frequency_hz)
        ramps = [one.ramp_w_per_s for one in self.settings.battery]
        reach_w = FORWARD_SHARE * sum(ramps) * dt_s
        taken_w = taken_over_w(self._forward_w, droop_w, reach_w) if self._law in ISLAND_LAWS else 0.0
        self._forward_w = self._forward_w - taken_w if taken_w else 0.0
        for to, ramp, usable in zip(units.power_to, ramps, units.usable, strict=True):
            if taken_w and usable:
                self._want_power(to, float(present[to]) + taken_w * ramp / sum(ramps))

    # -- supervisor

    def _supervise(self, dt_s: float) -> None:
        if self._out is None:
            return
        setpoint_w = self.supervisor.step(
            self._now_s, self._law, self._out.mode, self.tie, self.island, self.shortage_w, dt_s
        )
        if self._law is Law.TIE:
            self._setpoint_w = setpoint_w
        for kind, ko, en in self.supervisor.lines():
            self._tell(kind, ko, en)

    def _tell(self, kind: str, ko: str, en: str) -> None:
        if len(self._told) < TOLD_MAX:
            self._told.append(Told(self._now_s, kind, ko, en))


def open_controller(site_root: Path, options: Mapping[str, Any]) -> Controller:
    """The controller of a site.

    Args:
        site_root: folder with ``microgrid/control.toml``.
        options: ``clock_offset_s``: wall clock less the run's clock (0); ``settings``: instead of the file's.

    Raises:
        ControlConfigError: the file is wrong.
        OSError: it cannot be read.
    """
    settings = options.get("settings")
    found = settings if isinstance(settings, Settings) else read_settings(site_root)
    return MicrogridController(found, float(options.get("clock_offset_s", 0.0)))
