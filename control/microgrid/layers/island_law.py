"""The law of an island: sum of set-points above droop, such that the frequency comes back; trim of the voltage.

The units' droop answers within milliseconds; this layer moves the sum of their set-points until the frequency is the
wanted one. It begins from what is commanded, so that its coming into force moves nothing, and goes on from what the
limits left of its last answer, so that nothing winds up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gwanje.control.microgrid.device_settings import Battery, Generator
from gwanje.control.microgrid.settings import Settings
from gwanje.ext.droop import Restoration

TRIM_FROM_PU = 0.9


def stiffness_w_per_hz(
    batteries: Sequence[tuple[Battery, bool]], generators: Sequence[tuple[Generator, bool]], nominal_hz: float
) -> float:
    """Power that droop moves for one hertz, of the units that form the grid (the flag beside each), W/Hz."""
    found = sum(one.discharge_w_max / one.droop_pu for one, forms in batteries if forms)
    found += sum(one.rated_w / one.droop_pu for one, runs in generators if runs and one.droop_pu > 0.0)
    return found / nominal_hz


def taken_over_w(left_w: float, droop_w: float, reach_w: float) -> float:
    """What the set-points take over of a lost import in a period, as far as droop shows that it is missing.

    Args:
        left_w: what was imported before, and is not taken over yet.
        droop_w: what the frequency says that droop gives beside the set-points; NaN when it is not known.
        reach_w: what may be taken in this period.
    """
    if not left_w * droop_w > 0.0:
        return 0.0
    return math.copysign(min(abs(left_w), abs(droop_w), reach_w), left_w)


class IslandLaw:
    """Frequency and voltage restoration.

    Args:
        settings: of the site.

    Attributes:
        sum_w: wanted sum of all units' set-points.
        voltage_pu: wanted set-point of the forming units.
    """

    def __init__(self, settings: Settings) -> None:
        self._frequency = Restoration(*_frequency_gains(settings))
        self._voltage = Restoration(*_voltage_gains(settings))
        self._settings = settings
        self._stamp_s = -math.inf
        self.sum_w = 0.0
        self.voltage_pu = 1.0

    def retune(self, settings: Settings) -> None:
        """Other gains; nothing moves by that."""
        self._frequency.tune(*_frequency_gains(settings))
        self._voltage.tune(*_voltage_gains(settings))
        self._settings = settings

    def begin(self) -> None:
        """The law comes into force."""
        self._frequency.reset()
        self._voltage.reset()

    @property
    def frozen(self) -> bool:
        """Frames are missing or too late: the units' droop alone holds the frequency."""
        return self._frequency.frozen

    @property
    def gain_per_s(self) -> float:
        """Integral gain in force."""
        return self._frequency.gain_per_s

    def step(
        self, frequency_hz: float, stamp_s: float, age_s: float, target_hz: float, stiffness: float, achieved_w: float,
        reach_w: tuple[float, float], voltage_pu: float, voltage_target_pu: float, dt_s: float,
    ) -> None:  # fmt: skip
        """One period of the secondary layer.

        Args:
            frequency_hz: measured.
            stamp_s: when.
            age_s: since then.
            target_hz: wanted.
            stiffness: power that droop moves for one hertz, W/Hz.
            achieved_w: sum of the units' present commands.
            reach_w: least and greatest power that the units can deliver.
            voltage_pu: of the city's bus.
            voltage_target_pu: wanted.
            dt_s: since the last step.
        """
        island = self._settings.island
        fresh = stamp_s > self._stamp_s
        self._stamp_s = max(self._stamp_s, stamp_s)
        delay_s = age_s + island.path_delay_s
        self.sum_w = self._frequency.step(target_hz - frequency_hz, fresh, delay_s, stiffness, achieved_w, dt_s)
        self._unwind(stiffness * (target_hz - frequency_hz), achieved_w, reach_w)
        trim = island.voltage_trim_pu
        # While a dead bus comes up there is nothing to trim: the units do that by themselves.
        error_pu = voltage_target_pu - voltage_pu if voltage_pu >= TRIM_FROM_PU else math.nan
        wanted = self._voltage.step(error_pu, fresh, delay_s, 1.0, self.voltage_pu, dt_s)
        self.voltage_pu = min(max(wanted, 1.0 - trim), 1.0 + trim)

    def _unwind(self, droop_w: float, achieved_w: float, reach_w: tuple[float, float]) -> None:
        """Units that droop has at their limits give no more for a higher set-point: it would only throw them over."""
        if droop_w > 0.0:
            self.sum_w = min(self.sum_w, max(reach_w[1] - droop_w, achieved_w))
        elif droop_w < 0.0:
            self.sum_w = max(self.sum_w, min(reach_w[0] - droop_w, achieved_w))

    def rest_voltage(self, dt_s: float) -> None:
        """Out of force: the trim goes back slowly."""
        reach = 0.01 * dt_s
        self.voltage_pu += min(max(1.0 - self.voltage_pu, -reach), reach)


def _frequency_gains(settings: Settings) -> tuple[float, float, float, float, int]:
    one = settings.island
    return one.ki_per_s, one.kp, one.ki_delay_max, one.delay_s_max, one.missing_max


def _voltage_gains(settings: Settings) -> tuple[float, float, float, float, int]:
    one = settings.island
    return one.voltage_ki_per_s, 0.0, one.ki_delay_max, one.delay_s_max, one.missing_max
