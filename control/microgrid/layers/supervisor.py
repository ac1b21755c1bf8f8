"""The supervisor, once a second: import set-point, quarter hour, flexible loads, curtailment, return, generators.

It composes pure steps (``tie_setpoint``, ``demand``, ``flexible``, ``curtail``, ``restore``) and keeps their states. It
also holds the shed table, which it arms here and the guard draws on in its own time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gwanje.control.microgrid import device_settings, params
from gwanje.control.microgrid.image import Image
from gwanje.control.microgrid.layers import curtail, demand, flexible, ready, restore, tie_setpoint
from gwanje.control.microgrid.layers.commands import BEYOND_RATING, Commands
from gwanje.control.microgrid.layers.generators import Generators
from gwanje.control.microgrid.layers.island_law import IslandLaw
from gwanje.control.microgrid.layers.tie_law import TieLaw
from gwanje.control.microgrid.modes.types import Law, Mode
from gwanje.control.microgrid.settings import Demand, Settings, load_value
from gwanje.control.microgrid.units import Units
from gwanje.control.microgrid.watch import Watch
from gwanje.ext.shed import ShedTable

ISLAND_LAWS = (Law.ISLAND, Law.SYNC, Law.ENERGISE)
GIVE_BACK_SHARE = 0.7
"""Of what is free, what may be given back in one step: the rest waits for what that does."""
STARTING_S = 1.5
"""How long motors of a load that has returned may be starting."""
READY_BAND = 0.03
"""Of the forming units' limit, what loads that come back beside the utility leave free."""
READY_RAMP_SHARE = 0.02
"""Of that limit, what gives way in a second for readiness: nothing has happened yet, and nobody is to notice."""
ROOM_RESERVE = 0.1
"""Share of the batteries' power that loads which return leave free."""


class Supervisor:
    """The slow layer; see the module.

    Args:
        settings: of the site.
        image: what came.
        commands: what is wanted.
        units: the devices.
        clock_offset_s: wall clock less the run's clock.

    Attributes:
        armed_free_w: discharge that was free when the table was armed, less the reserve.
        armed_room_w: charge that the batteries could take then.
        starting_s: for how long motors of a load that has returned may still be starting.
    """

    def __init__(
        self, settings: Settings, image: Image, commands: Commands, units: Units, clock_offset_s: float
    ) -> None:
        self._settings, self._image, self._commands, self._units = settings, image, commands, units
        self._offset_s = clock_offset_s
        n = len(settings.load)
        self._table = ShedTable(max(n, 1))
        self._chosen = np.zeros(max(n, 1), np.uint8)
        self._load_at = {one.name: at for at, one in enumerate(settings.load)}
        self._batteries = tuple(_plain(one.name, one) for one in settings.battery)
        self._classes = [(one.rated_w, one.floor) for one in settings.lamp_class]
        self._setpoint = tie_setpoint.SetpointState()
        self._demand = demand.DemandState()
        self._demand_out = demand.DemandOutputs(math.nan, settings.demand.cap_w, 0.0, math.nan)
        self._limit_w = flexible.unlimited(settings.flexible)
        self._curtail = curtail.CurtailState()
        self._restore = restore.RestoreState(tuple(restore.LoadState() for _ in settings.load))
        self._generators = Generators(settings, commands, units)
        self._watch = Watch(settings, image, units)
        self._wish: dict[int, float] = {}
        self._asked_w = self._limit_asked_w = self._cap_asked_w = math.nan
        self._ready_asked = False
        self._reach: ready.Reach | None = None
        self._lines: list[tuple[str, str, str]] = []
        self.armed_free_w = self.armed_room_w = self.starting_s = 0.0

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices."""
        self._settings = settings
        self._classes = [(one.rated_w, one.floor) for one in settings.lamp_class]
        self._generators.retune(settings)
        self._watch.retune(settings)

    @property
    def _cap(self) -> Demand:
        return self._with_cap(self._settings.demand)

    def _with_cap(self, params: Demand) -> Demand:
        """Parameters of the quarter hour, with an operator's cap."""
        return replace(params, cap_w=self._cap_asked_w) if self._cap_asked_w == self._cap_asked_w else params

    def allowed_with_w(self, params: Demand, now_s: float) -> float:
        """Greatest import that other parameters of the quarter hour would allow now; nothing moves by asking."""
        _, out = demand.step(self._demand, now_s + self._offset_s, math.nan, self._with_cap(params), 0.0)
        return min(out.allowed_w, self._limit_asked_w) if self._limit_asked_w == self._limit_asked_w else out.allowed_w

    @property
    def flexible_limits_w(self) -> tuple[float, ...]:
        """Limit of each flexible load, W."""
        return self._limit_w

    def ask(self, what: str, values: Mapping[str, float | str]) -> str:
        """Set-point, limit, cap or readiness by an operator; the reason against it, Korean / English."""
        if what == "ready":
            self._ready_asked = float(values.get("on", 1.0)) > 0.5
            return ""
        wanted_w, rating_w = float(values.get("w", math.nan)), self._settings.site.rating_w
        if wanted_w == wanted_w and not abs(wanted_w) <= rating_w:
            return BEYOND_RATING
        if what == "import_setpoint":
            self._asked_w = wanted_w
        elif what == "import_limit":
            self._limit_asked_w = wanted_w
        elif what == "demand_cap":
            cap_w = wanted_w if wanted_w == wanted_w else self._settings.demand.cap_w
            if cap_w < 1e3:
                return f"{cap_w:g} W: 1 kW 이상이어야 함 / at least 1 kW"
            self._cap_asked_w = wanted_w
        else:
            return f"{what} is not known"
        return ""

    @property
    def shed_loads(self) -> dict[str, float]:
        """Loads that are held off → what each drew before, W."""
        loads = zip(self._settings.load, self._restore.loads, strict=True)
        return {one.name: state.before_w for one, state in loads if state.off}

    def take_up(
        self, shed: Mapping[str, float], source_w: Mapping[str, float], flexible_w: Mapping[str, float]
    ) -> None:
        """Go on from where another process left the devices.

        Args:
            shed: loads that it held off, with what they drew; those that are found closed are not.
            source_w: limits that plants hold, by name.
            flexible_w: limits that flexible loads hold, by the load's name.
        """
        units, loads = self._units, list(self._restore.loads)
        for at, one in enumerate(self._settings.load):
            if one.name in shed and self._image.at(units.closed_at[at]) < 0.5:
                loads[at] = restore.LoadState(True, 0.0, shed[one.name])
        self._restore = replace(self._restore, loads=tuple(loads))
        taken_w = 0.0
        for source, could_w in zip(self._settings.source, units.available_w, strict=True):
            top_w = float(could_w) if could_w == could_w else source.rated_w
            taken_w += max(top_w - source_w.get(source.name, source.rated_w), 0.0)
        self._curtail = replace(self._curtail, taken_w=taken_w)
        self._limit_w = tuple(
            min(max(flexible_w.get(one.load, one.rated_w), one.floor_w), one.rated_w)
            for one in self._settings.flexible
        )
        self._generators.take_up()

    @property
    def allowed_w(self) -> float:
        """Greatest import that the quarter hour and an operator's limit allow."""
        return self._allowed_w()

    def figures(self) -> dict[str, float | str]:
        """Key figures."""
        off = sum(one.off for one in self._restore.loads)
        return {
            "demand_predicted_w": self._demand_out.predicted_w,
            "demand_allowed_w": self._demand_out.allowed_w,
            "demand_peak_w": self._demand.peak_w,
            "curtailed_wh": self._curtail.lost_wh,
            "curtailed_w": self._curtail.taken_w,
            "loads_off": float(off),
            "ready_short_w": self._reach.short_w if self._reach is not None else math.nan,
            "flexible_w": sum(
                one.rated_w - limit for one, limit in zip(self._settings.flexible, self._limit_w, strict=True)
            ),
            "alarms": ",".join(self._watch.standing),
        }

    def lines(self) -> list[tuple[str, str, str]]:
        """What there is to tell since the last call: kind, Korean, English."""
        lines, self._lines = self._lines, []
        return lines

    def begin_tie(self, setpoint_w: float) -> None:
        """The tie-line law comes into force with this import."""
        self._setpoint = tie_setpoint.SetpointState(setpoint_w, math.nan)

    def setpoint_w(self, present_w: float) -> float:
        """The import set-point with what an operator has just asked for."""
        wanted_w = self._asked_w if self._asked_w == self._asked_w else present_w
        return min(wanted_w, self._allowed_w())

    def _allowed_w(self) -> float:
        """Greatest import that the quarter hour and an operator's limit allow."""
        allowed_w = self._demand_out.allowed_w
        return min(allowed_w, self._limit_asked_w) if self._limit_asked_w == self._limit_asked_w else allowed_w

    # -- shedding

    def arm(self) -> None:
        """Sort the table by what loads draw now, and note what the batteries could do."""
        settings, units = self._settings, self._units
        loads = settings.load
        if not loads:
            return
        off = [one.off for one in self._restore.loads]
        amounts = np.where(np.isnan(units.load_w), 0.0, units.load_w)
        may = [one.tier != "critical" and not gone for one, gone in zip(loads, off, strict=True)]
        self._table.arm(np.array([load_value(one) for one in loads]), amounts, np.array(may, np.uint8))
        self.armed_free_w = units.forming_free_w(settings.guard.reserve_share)
        self.armed_room_w = units.commanded_w() - units.bottom_w()

    def shed(self, amount_w: float) -> list[str]:
        """Shed at least this from the table; the loads' names."""
        self._table.decide(amount_w, self._chosen)
        chosen = [bool(one) for one in self._chosen[: len(self._settings.load)]]
        return self._open(chosen)

    def shed_all(self) -> None:
        """The network is dark: all loads wait for their turn."""
        self._open([True] * len(self._settings.load))

    def _open(self, chosen: list[bool]) -> list[str]:
        loads = self._settings.load
        fresh = [take and not one.off for take, one in zip(chosen, self._restore.loads, strict=True)]
        self._restore = restore.shed(self._restore, fresh, [float(one) for one in self._units.load_w], loads)
        for at, take in enumerate(fresh):
            if take:
                self._wish[at] = 0.0
        if any(fresh):
            self.arm()
        return [one.label_en or one.name for one, take in zip(loads, fresh, strict=True) if take]

    def curtail(self, amount_w: float) -> None:
        """Take this from the plants now."""
        self._curtailed(amount_w, 0.0, 0.0)

    def repeat(self) -> None:
        """Orders to load breakers are repeated until they show what was wanted."""
        present, units = self._commands.present, self._units
        for at, wish in list(self._wish.items()):
            to, closed = units.close_to[at], self._image.at(units.closed_at[at])
            if closed == closed and (closed > 0.5) == (wish > 0.5):
                if wish > 0.5:
                    del self._wish[at]
                present[to] = self._commands.wanted[to] = math.nan
                continue
            present[to] = self._commands.wanted[to] = wish

    # -- once a second

    def step(
        self, now_s: float, law: Law, mode: Mode, tie: TieLaw, island: IslandLaw, shortage_w: float, dt_s: float
    ) -> float:
        """One step; returns the import set-point of the tie-line law."""
        settings, units, image = self._settings, self._units, self._image
        island_now = law in ISLAND_LAWS
        seen_w = image.get("grid.tie.import_w")
        import_w = seen_w if seen_w == seen_w else tie.expected_w
        self.starting_s = max(self.starting_s - dt_s, 0.0)
        self._demand, self._demand_out = demand.step(
            self._demand, now_s + self._offset_s, 0.0 if island_now else import_w, self._cap, dt_s
        )
        allowed_w = self._allowed_w()
        setpoint_w = self._import_setpoint(import_w, allowed_w, tie, dt_s)
        if law is Law.OFF:
            short_w = surplus_w = room_w = 0.0
        elif island_now:
            room_w = units.free_w() - ROOM_RESERVE * units.top_w()
            short_w, surplus_w = self._island_balance(shortage_w)
        elif law is Law.DRIVE_TIE_TO_ZERO:
            # The island begins with room in its batteries, or not at all.
            short_w, surplus_w = self._island_balance(tie.kernel.unserved_w)
            room_w = 0.0
        else:
            unserved_w = tie.kernel.unserved_w
            short_w = max(min(unserved_w, import_w - allowed_w), 0.0) if import_w == import_w else 0.0
            surplus_w = max(min(-unserved_w, settings.setpoint.import_min_w - import_w), 0.0)
            room_w = allowed_w - import_w if import_w == import_w else 0.0
        level = self._readiness() if law is Law.TIE else "off"
        self._reach = self._look_ahead(import_w) if level != "off" else None
        give_way_w, given_back_w = short_w, GIVE_BACK_SHARE * max(room_w, 0.0)
        if self._reach is not None:
            give_way_w = max(short_w, min(self._reach.short_w, READY_RAMP_SHARE * self._reach.limit_w * dt_s))
            given_back_w = min(given_back_w, self._reach.room_w(READY_BAND * self._reach.limit_w))
        unmet_w = self._flex(give_way_w, given_back_w, dt_s)
        left_w = max(short_w - (give_way_w - unmet_w), 0.0)
        back_w = units.commanded_w() - units.bottom_w() if island_now else import_w - settings.setpoint.import_min_w
        self._curtailed(surplus_w, GIVE_BACK_SHARE * max(back_w, 0.0) if surplus_w <= 0.0 else 0.0, dt_s)
        if left_w > 0.0 and not self._generators.coming:
            names = self.shed(left_w)
            if names:
                text = ", ".join(names)
                self._lines.append(("shed", f"공급 부족 차단: {text}", f"shed for want of power: {text}"))
        self._return(law, island, room_w, dt_s)
        ready_w = math.nan
        if self._reach is not None and level == "generators":
            rest_w = self._reach.short_w - (give_way_w - unmet_w)
            ready_w = rest_w if unmet_w > 0.0 else -self._reach.room_w(0.0)
        self._generators.step(law, self._shares_off() or left_w > 0.0, ready_w, dt_s)
        self.arm()
        holds = {
            "shortage": left_w > 0.0 or (island_now and short_w > 0.0),
            "surplus": self._curtail.taken_w > 0.0,
            "demand_over": not island_now and self._demand_out.predicted_w > self._cap.cap_w,
            "flexible": self._shares_off(),
            "loads_off": any(one.off for one in self._restore.loads),
            "import_stuck": tie.stuck and not island_now,
            "island_frozen": island_now and island.frozen,
        }
        self._lines += self._watch.step(holds, tie.kernel.limited, island_now, dt_s)
        return setpoint_w

    def _readiness(self) -> str:
        """What is done now to be ready for an island."""
        return "generators" if self._ready_asked else self._settings.ready.always

    def _look_ahead(self, import_w: float) -> ready.Reach | None:
        units, settings = self._units, self._settings
        return ready.look(
            import_w, [one.discharge_w for one in units.seen], [one.high_w for one in units.box], units.forms(),
            settings.battery, settings.ready,
        )  # fmt: skip

    def _shares_off(self) -> bool:
        return any(
            limit < one.rated_w - 1.0 for one, limit in zip(self._settings.flexible, self._limit_w, strict=True)
        )

    def _import_setpoint(self, import_w: float, allowed_w: float, tie: TieLaw, dt_s: float) -> float:
        """The site's strategy, an operator's wish, and the quarter hour above both."""
        units = self._units
        if self._asked_w == self._asked_w:
            setpoint_w = min(self._asked_w, allowed_w)
            self._setpoint = tie_setpoint.SetpointState(setpoint_w, math.nan)
            return setpoint_w
        inputs = tie_setpoint.SetpointInputs(
            import_w, tie.kernel.net_load_w + tie.kernel.integral_w, tuple(one.low for one in units.charge),
            tuple(units.usable),
        )  # fmt: skip
        if math.isnan(self._setpoint.mean_w) and math.isfinite(self._setpoint.setpoint_w):
            bias_w = tie_setpoint.charge_bias_w(inputs, self._settings.setpoint, self._batteries)
            self._setpoint = replace(self._setpoint, mean_w=self._setpoint.setpoint_w - bias_w)
        after = tie_setpoint.step(self._setpoint, inputs, self._settings.setpoint, self._batteries, dt_s)
        self._setpoint = replace(after, setpoint_w=min(after.setpoint_w, allowed_w))
        return self._setpoint.setpoint_w

    def _island_balance(self, shortage_w: float) -> tuple[float, float]:
        """What is short and what is too much, beyond the batteries' and generators' reach."""
        units = self._units
        over_w = units.commanded_w() - (1.0 - 0.5 * ROOM_RESERVE) * units.top_w()
        under_w = (1.0 - 0.5 * ROOM_RESERVE) * units.bottom_w() - units.commanded_w()
        short_w = max(shortage_w, over_w, 0.0)
        surplus_w = max(-shortage_w, under_w, 0.0)
        return (short_w, 0.0) if short_w >= surplus_w else (0.0, surplus_w)

    def _flex(self, short_w: float, room_w: float, dt_s: float) -> float:
        settings, units = self._settings, self._units
        drawn = [float(units.load_w[self._load_at[one.load]]) for one in settings.flexible]
        share = settings.restore.flexible_ramp_share
        self._limit_w, left_w = flexible.step(
            self._limit_w, short_w, room_w, drawn, settings.flexible, share, dt_s
        )
        for one, limit_w, to in zip(settings.flexible, self._limit_w, units.flexible_to, strict=True):
            dims = one.command == "dim_command"
            wanted = limit_w if not dims else 1.0
            if dims and limit_w < one.rated_w - 1.0:
                wanted = flexible.dim_share(limit_w, self._classes)
            self._commands.wanted[to] = wanted
        return left_w

    def _curtailed(self, surplus_w: float, room_w: float, dt_s: float) -> None:
        settings, units = self._settings, self._units
        self._curtail, limits = curtail.step(
            self._curtail, surplus_w, room_w, [float(one) for one in units.generation_w],
            [float(one) for one in units.available_w], settings.source, settings.limits.source_ramp_share, dt_s,
        )  # fmt: skip
        for to, limit_w in zip(units.source_to, limits, strict=True):
            self._commands.wanted[to] = limit_w

    def _return(self, law: Law, island: IslandLaw, room_w: float, dt_s: float) -> None:
        settings, units, image = self._settings, self._units, self._image
        if not self._restore.loads:
            return
        near = abs(image.frequency_hz - settings.site.nominal_hz) <= settings.restore.settle_hz
        inputs = restore.RestoreInputs(
            room_w=room_w,
            soc=units.mean_soc(),
            steady=law is not Law.OFF and near and not (law in ISLAND_LAWS and island.frozen),
            island=True,
            load_w=tuple(float(one) for one in units.load_w),
        )
        self._restore, back, gone = restore.step(self._restore, inputs, settings.load, settings.restore, dt_s)
        for at, wish, ko, en in ((back, 1.0, "복귀", "returns"), (gone, 0.0, "순환 차단", "makes place")):
            if at >= 0:
                one = settings.load[at]
                self._wish[at] = wish
                self.starting_s = STARTING_S if wish > 0.5 else self.starting_s
                self._lines.append(("restore", f"{one.label_ko or one.name} {ko}", f"{one.label_en or one.name} {en}"))


def _plain(name: str, one: device_settings.Battery) -> params.Battery:
    """A battery as the set-point's layer takes it; it looks at powers and capacity alone."""
    return params.Battery(
        name=name,
        setpoint_tag=name,
        discharge_tag=name,
        soc_tag=name,
        charge_w_max=one.charge_w_max,
        discharge_w_max=one.discharge_w_max,
        ramp_w_per_s=one.ramp_w_per_s,
        energy_wh=one.energy_wh,
    )
