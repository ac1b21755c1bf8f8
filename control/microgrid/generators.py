"""Generators in an island, once a second: started for want of charge or power, run near their best, then stopped."""

from __future__ import annotations

from gwanje.control.microgrid.commands import Commands
from gwanje.control.microgrid.mode_types import Law
from gwanje.control.microgrid.settings import Settings
from gwanje.control.microgrid.units import Units

BEST_SHARE = 0.8
"""Of its rating, where a generator that charges batteries is run."""
CHARGE_SHARE = 0.8
"""Of the batteries' charging power, what generators may use."""


class Generators:
    """Start, set-point and stop of each generator.

    Args:
        settings: of the site.
        commands: what is wanted.
        units: the devices.
    """

    def __init__(self, settings: Settings, commands: Commands, units: Units) -> None:
        self._settings, self._commands, self._units = settings, commands, units
        n = len(settings.generator)
        self._on = [False] * n
        self._ran_s = [0.0] * n

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices."""
        self._settings = settings

    def step(self, law: Law, short: bool, dt_s: float) -> None:
        """One step; ``short`` says that loads are put off or off for want of power."""
        settings, units, commands = self._settings, self._units, self._commands
        island, soc = settings.island, units.mean_soc()
        in_island = law in (Law.ISLAND, Law.SYNC, Law.ENERGISE)
        top_w = units.top_w()
        loaded = top_w > 0.0 and units.commanded_w() > island.generator_load_share * top_w
        need = in_island and (soc < island.generator_start_soc or loaded or short or top_w <= 0.0)
        enough = not in_island or (soc > island.generator_stop_soc and not loaded and not short)
        started = False
        for k, unit in enumerate(settings.generator):
            runs = units.running[k]
            self._ran_s[k] = self._ran_s[k] + dt_s if self._on[k] else 0.0
            # One after another: what the first brings is seen before the next is asked, unless it does not come.
            if need and not self._on[k] and not started and self._others_up(k):
                self._on[k] = started = True
            elif enough and self._on[k] and self._ran_s[k] >= island.generator_run_s:
                self._stop(k)
            commands.present[units.start_to[k]] = commands.wanted[units.start_to[k]] = float(self._on[k])
            to = units.generation_to[k]
            if not self._on[k] and not runs:
                commands.release(to)
                continue
            if commands.present[to] != commands.present[to]:
                commands.begin(to, unit.least_share * unit.rated_w)
            if self._on[k] and runs:
                commands.wanted[to] = self._target_w(k)
            elif self._on[k]:
                commands.wanted[to] = unit.least_share * unit.rated_w

    def _others_up(self, k: int) -> bool:
        """Every generator before this one runs, or has had its time to."""
        before = range(k)
        return all(
            self._on[j]
            and (self._units.running[j] or self._ran_s[j] > 2.0 * self._settings.generator[j].start_s + 5.0)
            and self._ran_s[j] > self._settings.generator[j].start_s + 10.0
            for j in before
        )

    def _target_w(self, k: int) -> float:
        """Between least and best power, such that the batteries can take what is left over."""
        unit, units = self._settings.generator[k], self._units
        best_w, least_w = BEST_SHARE * unit.rated_w, unit.least_share * unit.rated_w
        now_w = float(self._commands.present[units.generation_to[k]])
        spare_w = units.commanded_w() - CHARGE_SHARE * units.bottom_w()
        wanted_w = now_w + spare_w
        if units.commanded_w() > 0.9 * units.top_w():
            best_w = unit.rated_w
        return min(max(min(wanted_w, best_w), least_w), unit.rated_w)

    def _stop(self, k: int) -> None:
        """Down to its least power first; then off."""
        unit, to = self._settings.generator[k], self._units.generation_to[k]
        least_w = unit.least_share * unit.rated_w
        self._commands.wanted[to] = least_w
        if not self._commands.present[to] > 1.02 * least_w:
            self._on[k] = False
