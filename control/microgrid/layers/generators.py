"""Generators, once a second. In an island: started for want of charge or power, run near their best, then stopped.

Beside the utility they run only to be ready for an island: with what the forming units could not carry without them.
"""

from __future__ import annotations

from gwanje.control.microgrid.layers.commands import Commands
from gwanje.control.microgrid.modes.types import Law
from gwanje.control.microgrid.settings import Settings
from gwanje.control.microgrid.units import Units

BEST_SHARE = 0.8
"""Of its rating, where a generator that charges batteries is run."""
CHARGE_SHARE = 0.8
"""Of the batteries' charging power, what generators may use while the charge is low, …"""
REST_SHARE = 0.3
"""… and of their discharging power, what they are left with otherwise."""
COMING_S = 6.0
"""After its starting time, how long a generator may be waited for."""
SOON_S = 20.0
"""Slower ones are not waited for."""


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

    def take_up(self) -> None:
        """Machines that are found running were started by somebody: they are run on, from what they give."""
        for k, runs in enumerate(self._units.running):
            if runs and not self._on[k]:
                self._on[k] = True
                self._commands.begin(self._units.generation_to[k], self._units.given_w[k])

    def step(self, law: Law, short: bool, ready_w: float, dt_s: float) -> None:
        """One step.

        Args:
            law: in force.
            short: loads are put off or off for want of power.
            ready_w: beside the utility, what must come from generators for the city to be ready for an island, beyond
                what they give; negative when that much of it is not needed any more. NaN when they are not to run.
            dt_s: since the last step.
        """
        settings, units, commands = self._settings, self._units, self._commands
        island, soc = settings.island, units.mean_soc()
        own = law in (Law.ISLAND, Law.SYNC, Law.ENERGISE, Law.DRIVE_TIE_TO_ZERO)
        top_w = units.top_w()
        loaded = top_w > 0.0 and units.commanded_w() > island.generator_load_share * top_w
        need = own and (soc < island.generator_start_soc or loaded or short or top_w <= 0.0)
        enough = not own or (soc > island.generator_stop_soc and not loaded and not short)
        targets = self._targets_w(soc)
        if law is Law.TIE and ready_w == ready_w:
            running_w = units.generators_w()
            need, enough = ready_w > 0.0 and self._all_full(), ready_w + running_w <= 0.0
            targets = self._shared_w(max(running_w + ready_w, 0.0))
        started = False
        for k, unit in enumerate(settings.generator):
            runs, to, start_to = units.running[k], units.generation_to[k], units.start_to[k]
            self._ran_s[k] = self._ran_s[k] + dt_s if self._on[k] else 0.0
            # One after another: what the first brings is seen before the next is asked, unless it does not come.
            if need and not self._on[k] and not started and self._others_up(k):
                self._on[k] = started = True
            elif enough and self._on[k] and self._ran_s[k] >= island.generator_run_s:
                self._stop(k)
            commands.present[start_to] = commands.wanted[start_to] = float(self._on[k])
            if not self._on[k] and not runs:
                commands.release(to)
                continue
            least_w = unit.least_share * unit.rated_w
            if commands.present[to] != commands.present[to]:
                commands.begin(to, least_w)
            commands.wanted[to] = targets[k] if self._on[k] and runs and not enough else least_w

    @property
    def coming(self) -> bool:
        """One has been asked to start and may still come: loads wait for it."""
        return any(
            on and not runs and ran_s < unit.start_s + COMING_S
            for on, runs, ran_s, unit in zip(
                self._on, self._units.running, self._ran_s, self._settings.generator, strict=True
            )
            if unit.start_s <= SOON_S
        )

    def _others_up(self, k: int) -> bool:
        """Every generator before this one runs, or has had its time to."""
        before = range(k)
        return all(
            self._on[j]
            and (self._units.running[j] or self._ran_s[j] > 2.0 * self._settings.generator[j].start_s + 5.0)
            and self._ran_s[j] > self._settings.generator[j].start_s + 10.0
            for j in before
        )

    def _targets_w(self, soc: float) -> list[float]:
        """Set-points such that the batteries have what they need: charge when they are low, else room both ways."""
        settings, units = self._settings, self._units
        island = settings.island
        low = soc < 0.5 * (island.generator_start_soc + island.generator_stop_soc)
        rest_w = CHARGE_SHARE * units.bottom_w() if low else REST_SHARE * units.top_w()
        present = [float(self._commands.present[to]) for to in units.generation_to]
        now_w = sum(one for one, runs in zip(present, units.running, strict=True) if runs and one == one)
        left_w = now_w + units.commanded_w() - rest_w
        best_share = 1.0 if units.commanded_w() > 0.9 * units.top_w() else BEST_SHARE
        found = []
        for unit, runs in zip(settings.generator, units.running, strict=True):
            take_w = min(max(left_w, unit.least_share * unit.rated_w), best_share * unit.rated_w)
            found.append(take_w)
            left_w -= take_w if runs else 0.0
        return found

    def _all_full(self) -> bool:
        """No generator that was asked to run is still coming, or has anything left to give."""
        return all(
            runs and given_w >= 0.9 * unit.rated_w
            for on, runs, given_w, unit in zip(
                self._on, self._units.running, self._units.given_w, self._settings.generator, strict=True
            )
            if on
        )

    def _shared_w(self, sum_w: float) -> list[float]:
        """A sum over those that run, the first ones first, none below its least power."""
        found = []
        for unit, runs in zip(self._settings.generator, self._units.running, strict=True):
            take_w = min(max(sum_w, unit.least_share * unit.rated_w), unit.rated_w)
            found.append(take_w)
            sum_w -= take_w if runs else 0.0
        return found

    def _stop(self, k: int) -> None:
        """Down to its least power first; then off."""
        unit, to = self._settings.generator[k], self._units.generation_to[k]
        least_w = unit.least_share * unit.rated_w
        self._commands.wanted[to] = least_w
        if not self._commands.present[to] > 1.02 * least_w:
            self._on[k] = False
