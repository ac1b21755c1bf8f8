"""What the layers know of the devices in this period: batteries with their bounds, generators, plants and loads."""

from __future__ import annotations

import math

import numpy as np

from gwanje.control.microgrid.image import Image
from gwanje.control.microgrid.layers.commands import Commands
from gwanje.control.microgrid.layers.fleet import Bounds, Charge, Seen, bounds, count
from gwanje.control.microgrid.layers.reactive import ability_var
from gwanje.control.microgrid.settings import Settings

BATTERY_WORDS = ("discharge_w", "soc", "online", "charge_w_max", "discharge_w_max")
VOLTAGE_RAMP_PU_PER_S = 0.05
FREQUENCY_RAMP_HZ_PER_S = 0.5
FREQUENCY_REACH_HZ = 1.0
NEAR_SHARE = 0.15
"""Of a generator's rating, by which droop may move it from its set-point."""


class Units:
    """Devices of a site on the process image and the commands.

    Args:
        settings: of the site.
        image: what came.
        commands: what is commanded.

    Attributes:
        charge: of each battery.
        box: powers that each battery may be told.
        usable: whether it takes part.
        running: whether each generator does.
        load_w: (n,) of each load; NaN when not known.
        total_load_w: of all that are known.
        generation_w: (n,) of each plant.
        available_w: (n,) what each plant could give.
    """

    def __init__(self, settings: Settings, image: Image, commands: Commands) -> None:
        self._settings, self._image, self._commands = settings, image, commands
        at, to = image.index, commands.index
        self._seen_at = [[at[f"{one.name}.{word}"] for word in BATTERY_WORDS] for one in settings.battery]
        self.power_to = [to[f"{one.name}.discharge_setpoint_w"] for one in settings.battery]
        self._reactive = [(one.name, one.apparent_va, f"{one.name}.discharge_w") for one in settings.battery]
        self._reactive += [(one.name, one.rated_w * 1.1, f"{one.name}.generation_w")
                           for one in settings.source if one.reactive]  # fmt: skip
        self.reactive_to = [to[f"{name}.reactive_setpoint_var"] for name, _, _ in self._reactive]
        self._reactive_at = [at[tag] for _, _, tag in self._reactive]
        self.generation_to = [to[f"{one.name}.generation_setpoint_w"] for one in settings.generator]
        self.start_to = [to[f"{one.name}.start_command"] for one in settings.generator]
        self._running_at = [at[f"{one.name}.running"] for one in settings.generator]
        self._given_at = [at[f"{one.name}.generation_w"] for one in settings.generator]
        self.source_to = [to[f"{one.name}.generation_w_max_setpoint"] for one in settings.source]
        self._generation_at = np.array([at[f"{one.name}.generation_w"] for one in settings.source], np.intp)
        self._available_at = np.array([at[f"{one.name}.available_w"] for one in settings.source], np.intp)
        self._load_at = np.array([at[f"{one.name}.load_w"] for one in settings.load], np.intp)
        self.closed_at = [at[f"{one.name}.closed"] for one in settings.load]
        self.close_to = [to[f"{one.name}.close_command"] for one in settings.load]
        self.flexible_to = [to[f"{one.load}.{one.command}"] for one in settings.flexible]
        self.forming_to = [to[f"{one.name}.forming_command"] for one in settings.battery if one.forming]
        forming = [one.name for one in settings.battery if one.forming]
        forming += [one.name for one in settings.generator if one.forming]
        self.frequency_to = [to[f"{name}.frequency_setpoint_hz"] for name in forming]
        self.voltage_to = [to[f"{name}.voltage_setpoint_pu"] for name in forming]
        self.seen = [Seen(*[math.nan] * 5) for _ in settings.battery]
        self.charge = [Charge() for _ in settings.battery]
        self.box = [Bounds(0.0, 0.0) for _ in settings.battery]
        self.usable = [False for _ in settings.battery]
        self._unknown_s = [math.inf for _ in settings.battery]
        self.running = [False for _ in settings.generator]
        self.given_w = [0.0 for _ in settings.generator]
        self.load_w = np.full(len(settings.load), math.nan)
        self.total_load_w = 0.0
        self.generation_w = np.full(len(settings.source), math.nan)
        self.available_w = np.full(len(settings.source), math.nan)
        self._limits()

    def _limits(self) -> None:
        """Bounds and ramps that never move; a battery may be told nothing before its charge is known."""
        settings, commands = self._settings, self._commands
        for one in settings.battery:
            commands.limit(f"{one.name}.discharge_setpoint_w", 0.0, 0.0, one.ramp_w_per_s, one.ramp_w_per_s)
        self._tuned_limits()
        for to in self.reactive_to:
            commands.begin(to, 0.0)
        for unit in settings.generator:
            commands.limit(f"{unit.name}.generation_setpoint_w", 0.0, unit.rated_w, unit.ramp_w_per_s,
                           unit.ramp_w_per_s)  # fmt: skip
        nominal, site = settings.site.nominal_hz, settings.site
        for to in self.frequency_to:
            commands.limit(commands.names[to], nominal - FREQUENCY_REACH_HZ, nominal + FREQUENCY_REACH_HZ,
                           FREQUENCY_RAMP_HZ_PER_S, FREQUENCY_RAMP_HZ_PER_S)  # fmt: skip
            commands.begin(to, nominal)
        for to in self.voltage_to:
            commands.limit(commands.names[to], site.voltage_low_pu, site.voltage_high_pu, VOLTAGE_RAMP_PU_PER_S,
                           VOLTAGE_RAMP_PU_PER_S)  # fmt: skip
            commands.begin(to, 1.0)

    def _tuned_limits(self) -> None:
        """Bounds and ramps that parameters of a running controller say."""
        settings, commands = self._settings, self._commands
        for name, apparent_va, _ in self._reactive:
            ramp = settings.reactive.ramp_share_per_s * apparent_va
            commands.limit(f"{name}.reactive_setpoint_var", -apparent_va, apparent_va, ramp, ramp)
        for source in settings.source:
            ramp = settings.limits.source_ramp_share * source.rated_w
            commands.limit(f"{source.name}.generation_w_max_setpoint", 0.0, source.rated_w, ramp, math.inf)
        for flexible, to in zip(settings.flexible, self.flexible_to, strict=True):
            dims = flexible.command == "dim_command"
            top = 1.0 if dims else flexible.rated_w
            ramp = settings.restore.flexible_ramp_share * top
            commands.limit(commands.names[to], 0.0 if dims else flexible.floor_w, top, ramp, math.inf)

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices."""
        self._settings = settings
        self._tuned_limits()

    def look(self, dt_s: float) -> None:
        """Take in what came: charge, bounds, who takes part."""
        image, commands, settings = self._image, self._commands, self._settings
        for k, one in enumerate(settings.battery):
            seen = Seen(*[image.at(at) for at in self._seen_at[k]])
            to = self.power_to[k]
            commanded_w = float(commands.present[to])
            charge = count(self.charge[k], seen, 0.0 if math.isnan(commanded_w) else commanded_w, one,
                           settings.limits, dt_s)  # fmt: skip
            self.seen[k], self.charge[k] = seen, charge
            box = self.box[k] = bounds(charge, one, settings.limits)
            commands.low[to], commands.high[to] = box.low_w, box.high_w
            known = seen.discharge_w == seen.discharge_w
            self._unknown_s[k] = float(image.age_s[self._seen_at[k][0]]) if known else self._unknown_s[k] + dt_s
            fresh = self._unknown_s[k] <= settings.tie.battery_hold_s
            self.usable[k] = seen.online > 0.5 and fresh and charge.low == charge.low
            if math.isnan(commanded_w) and self.usable[k]:
                commands.begin(to, seen.discharge_w)
        for k, at in enumerate(self._running_at):
            running, given_w = image.at(at), image.at(self._given_at[k])
            self.running[k] = running > 0.5 if running == running else self.running[k]
            self.given_w[k] = given_w if given_w == given_w else self.given_w[k]
        np.copyto(self.load_w, image.value[self._load_at])
        self.total_load_w = float(np.nansum(self.load_w))
        np.copyto(self.generation_w, image.value[self._generation_at])
        np.copyto(self.available_w, image.value[self._available_at])

    def tighten(self) -> None:
        """Reported limits between two looks: a battery that derates is obeyed in the period in which it says so."""
        image, commands = self._image, self._commands
        for k, (_, _, _, charge_at, discharge_at) in enumerate(self._seen_at):
            to, charge_w, discharge_w = self.power_to[k], image.value[charge_at], image.value[discharge_at]
            if discharge_w < commands.high[to]:
                commands.high[to] = max(float(discharge_w), 0.0)
            if -charge_w > commands.low[to]:
                commands.low[to] = min(-float(charge_w), 0.0)

    def abilities(self) -> list[float]:
        """Reactive power that each inverter can give beside its active power, var; bounds its command too."""
        found = []
        for (_, apparent_va, _), at, to in zip(self._reactive, self._reactive_at, self.reactive_to, strict=True):
            ability = ability_var(apparent_va, self._image.at(at))
            self._commands.low[to], self._commands.high[to] = -ability, ability
            found.append(ability)
        return found

    def commanded_w(self) -> float:
        """Sum of the batteries' commands."""
        return float(np.nansum(self._commands.present[self.power_to]))

    def generators_w(self) -> float:
        """What the generators that run are counted with: their delivery, near a set-point their set-point.

        Near its set-point a generator's delivery moves with its droop, which is its own answer and not to be undone.
        """
        total_w = 0.0
        for unit, runs, given_w, to in zip(
            self._settings.generator, self.running, self.given_w, self.generation_to, strict=True
        ):
            setpoint_w, near_w = float(self._commands.present[to]), NEAR_SHARE * unit.rated_w
            if not runs:
                continue
            if unit.droop_pu > 0.0 and setpoint_w == setpoint_w:
                total_w += min(max(setpoint_w, given_w - near_w), given_w + near_w)
            else:
                total_w += given_w
        return total_w

    def free_w(self) -> float:
        """Discharge that batteries could add, and running generators at once by their droop."""
        found = self.batteries_free_w()
        for unit, runs, given in zip(self._settings.generator, self.running, self.given_w, strict=True):
            found += max(unit.rated_w - given, 0.0) if runs and unit.droop_pu > 0.0 else 0.0
        return found

    def forming_free_w(self, reserve_share: float) -> float:
        """Discharge that the forming units could add within milliseconds, less a share of theirs in reserve."""
        found = 0.0
        for one, to, box, usable in zip(self._settings.battery, self.power_to, self.box, self.usable, strict=True):
            present_w = float(self._commands.present[to])
            if one.forming and usable and present_w == present_w:
                found += (1.0 - reserve_share) * box.high_w - present_w
        for unit, runs, given_w in zip(self._settings.generator, self.running, self.given_w, strict=True):
            found += max((1.0 - reserve_share) * unit.rated_w - given_w, 0.0) if runs and unit.droop_pu > 0.0 else 0.0
        return found

    def batteries_free_w(self) -> float:
        """Discharge that the batteries could add to their commands."""
        return self.top_w() - self.commanded_w()

    def top_w(self) -> float:
        """Greatest sum of the batteries that take part."""
        return sum(box.high_w for box, usable in zip(self.box, self.usable, strict=True) if usable)

    def bottom_w(self) -> float:
        """Least sum of them, charging is negative."""
        return sum(box.low_w for box, usable in zip(self.box, self.usable, strict=True) if usable)

    def mean_soc(self) -> float:
        """Mean charge by energy; 0.5 while nothing is known."""
        pairs = [(c.low, one.energy_wh) for c, one in zip(self.charge, self._settings.battery, strict=True)]
        known = [(low, energy) for low, energy in pairs if low == low]
        total = sum(energy for _, energy in known)
        return sum(low * energy for low, energy in known) / total if total > 0.0 else 0.5

    def forms(self) -> list[bool]:
        """Which batteries can form the grid now."""
        return [one.forming and usable for one, usable in zip(self._settings.battery, self.usable, strict=True)]
