"""The tie-line law: the kernel of :mod:`gwanje.ext.tie_line` on the process image.

While another law is in force the kernel tracks what the batteries deliver, so that taking over moves nothing. An import
that is missing is replaced by what the meters, the batteries and the last known remainder (losses, unmetered loads) say
that it is; the kernel learns its remainder from the real one alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.device_settings import Device
from gwanje.control.microgrid.image import Floats, Image
from gwanje.control.microgrid.layers.fleet import J_PER_WH, Bounds, Charge
from gwanje.control.microgrid.settings import Settings
from gwanje.ext.reference.tie_line import BatteryParams, TieLineParams
from gwanje.ext.tie_line import TieLine

TRUSTED_SHARE = 0.8
"""Of all metered power, what must be fresh for an import to be estimated."""
MIRROR_SHARE = 0.3
"""Of what is expected, how near to its mirror image an import is taken for one."""
DOUBT_SHARE = 0.05
"""Of the rating: a remainder that jumps by more is learnt only when it …"""
DOUBT_S = 1.0
"""… stays for so long."""
REMAINDER_S = 2.0
"""Time constant of the remainder that stands in for what no meter shows."""


def kernel_params(settings: Settings) -> TieLineParams:
    """The kernel's parameters; its steps are ``timing.tie_s`` long."""
    tie, limits, period_s = settings.tie, settings.limits, settings.timing.tie_s
    return TieLineParams(
        rating_w=settings.site.rating_w,
        ki_per_s=tie.ki_per_s,
        kp=tie.kp,
        lead_s=tie.lead_s,
        lead_filter_s=tie.lead_filter_s,
        lead_w_max=tie.lead_w_max,
        lag_s=tie.inverter_lag_s,
        import_hold_s=tie.import_hold_s,
        import_fail_s=tie.import_fail_s,
        recover_s=tie.recover_s,
        stuck_w=tie.stuck_w,
        meter_hold_s=tie.meter_hold_s,
        ess_hold_s=tie.battery_hold_s,
        ess_known_s=tie.battery_known_s,
        soc_hold_s=settings.timing.slow_hold_s,
        soc_min=limits.soc_min,
        soc_max=limits.soc_max,
        taper_s=limits.taper_s,
        participation_floor=limits.participation_floor,
        follow_tolerance=tie.follow_tolerance,
        follow_window=tie.follow_window,
        follow_release=tie.follow_release,
        follow_s=tie.follow_s,
        release_s=tie.release_s,
        rms_start_s=10.0,
        delay_steps=round(tie.path_delay_s / period_s),
        battery=tuple(
            BatteryParams(one.charge_w_max, one.discharge_w_max, one.ramp_w_per_s, one.energy_wh * J_PER_WH)
            for one in settings.battery
        ),
        meter_sign=(1.0,) * len(settings.load) + (-1.0,) * (len(settings.source) + len(settings.generator)),
    )


class Kernel(Protocol):
    """What the law needs of :class:`gwanje.ext.tie_line.TieLine`; a running city has another in its place."""

    def step(
        self, setpoint_w: float, in_force: bool, import_w: Floats, import_stamp: int, meters: Floats, battery: Floats,
        dt_s: float, setpoints: Floats,
    ) -> None:  # fmt: skip
        """One step."""

    def retune(self, scalars: Floats, delay_steps: int, battery: Floats, meter_sign: Floats) -> None:
        """Other parameters."""

    @property
    def mode(self) -> int:
        """Of the kernel."""

    @property
    def unserved_w(self) -> float:
        """Part of the demand that the batteries do not allow."""

    @property
    def net_load_w(self) -> float:
        """The feed-forward."""

    @property
    def integral_w(self) -> float:
        """What the observer adds to it."""

    @property
    def limited(self) -> tuple[bool, ...]:
        """Whether each battery is held near what it delivers."""


class TieLaw:
    """The law with its arrays.

    Args:
        settings: of the site.
        image: that it looks at.

    Attributes:
        setpoints: (n,) of each battery, W.
        estimated: the import is not measured but estimated.
        stuck: it keeps one value while everything else moves.
        expected_w: import as everything else says, W.
    """

    def __init__(self, settings: Settings, image: Image) -> None:
        self._settings, self._image = settings, image
        self._period_s = settings.timing.tie_s
        self.kernel: Kernel = self._new(settings)
        n = len(settings.battery)
        index = image.index
        names = [f"{one.name}.load_w" for one in settings.load]
        plants: list[Device] = [*settings.source, *settings.generator]
        names += [f"{one.name}.generation_w" for one in plants]
        self._meter_at = np.array([index[name] for name in names], np.intp)
        self._sign = np.array(kernel_params(settings).meter_sign)
        self._battery_at = [
            tuple(index[f"{one.name}.{word}"] for word in ("discharge_w", "soc", "online")) for one in settings.battery
        ]
        self._import_at = index["grid.tie.import_w"]
        self._meters, self._batteries = np.zeros((len(names), 3)), np.zeros((n, 9))
        self._import, self._known_w = np.zeros(3), np.zeros(len(names))
        self._remainder_w, self._missing_s, self._doubted_s = math.nan, 0.0, 0.0
        self._doubt_w = DOUBT_SHARE * settings.site.rating_w
        self._stood = (math.nan, math.nan)
        self._stamp = 0
        self.setpoints = np.zeros(n)
        self.estimated = self.stuck = False
        self.expected_w = math.nan

    @staticmethod
    def _new(settings: Settings) -> TieLine:
        return TieLine(*_arrays(settings))

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices, without a bump.

        Raises:
            ValueError: other numbers of devices, or a parameter out of range.
        """
        self.kernel.retune(*_arrays(settings))
        self._settings = settings

    def step(self, setpoint_w: float, in_force: bool, box: Sequence[Bounds], charge: Sequence[Charge]) -> None:
        """One period."""
        image, value, age_s = self._image, self._image.value, self._image.age_s
        meters = value[self._meter_at]
        np.copyto(self._meters[:, 0], meters)
        self._meters[:, 1] = meters == meters
        np.copyto(self._meters[:, 2], age_s[self._meter_at])
        delivered_w = 0.0
        for k, (power_at, soc_at, online_at) in enumerate(self._battery_at):
            row, power_w, online = self._batteries[k], value[power_at], value[online_at]
            soc = charge[k].low if self.setpoints[k] > 0.0 else charge[k].high
            known = value[soc_at] == value[soc_at]
            row[:] = (
                power_w, power_w == power_w, age_s[power_at], soc, known and soc == soc, age_s[soc_at],
                online > 0.5, -box[k].low_w, box[k].high_w,
            )  # fmt: skip
            delivered_w += power_w if power_w == power_w else float(self.setpoints[k])
        fresh = self._meters[:, 1] > 0.0
        np.copyto(self._known_w, meters, where=fresh)
        self._look_at_import(float(self._known_w @ self._sign), delivered_w, self._trusted(fresh))
        stamp = image.stamp(self._import_at)
        self._stamp = self._stamp + 1 if self.estimated else stamp
        self.kernel.step(
            setpoint_w, in_force, self._import, self._stamp, self._meters, self._batteries, self._period_s,
            self.setpoints,
        )  # fmt: skip

    def _trusted(self, fresh: npt.NDArray[np.bool_]) -> bool:
        """Whether enough of the power is measured to say what the import is."""
        size_w = np.abs(self._known_w)
        return bool(size_w[fresh].sum() >= TRUSTED_SHARE * size_w.sum())

    def _look_at_import(self, net_w: float, delivered_w: float, trusted: bool) -> None:
        """Measured, or what everything else says that it is; nothing while too little of that is measured."""
        at, remainder_w = self._import_at, self._remainder_w
        expected_w = net_w - delivered_w + (remainder_w if remainder_w == remainder_w else 0.0)
        seen_w = self._image.at(at)
        self.expected_w = expected_w
        sure = trusted and remainder_w == remainder_w
        self._image.model[at] = expected_w if sure else math.nan
        self.estimated = False
        if seen_w != self._stood[0]:
            self._stood = (seen_w, expected_w)
        self.stuck = abs(expected_w - self._stood[1]) > self._settings.tie.stuck_w
        # A mirrored import is not waited for: acted on, it would do twice the harm of a missing one.
        mirrored = sure and seen_w * expected_w < 0.0 and abs(seen_w + expected_w) <= MIRROR_SHARE * abs(expected_w)
        mirrored = mirrored and abs(expected_w) >= self._doubt_w
        if seen_w == seen_w and not self.stuck and not mirrored:
            off = sure and abs(seen_w - expected_w) > self._doubt_w
            self._doubted_s = self._doubted_s + self._period_s if off else 0.0
            reach_w = self._settings.tie.correction_share * self._settings.site.rating_w
            missed_w = seen_w - (net_w - delivered_w)
            if math.isnan(remainder_w):
                remainder_w = missed_w
            if self._doubted_s == 0.0 or self._doubted_s > DOUBT_S:
                remainder_w += (missed_w - remainder_w) * min(self._period_s / REMAINDER_S, 1.0)
            self._remainder_w = min(max(remainder_w, -reach_w), reach_w)
            self._missing_s = 0.0
            self._import[:] = (seen_w, 1.0, self._image.age_s[at])
            return
        self._missing_s += self._period_s
        if trusted and self._missing_s > self._settings.timing.fast_hold_s:
            self.estimated = True
            self._import[:] = (expected_w, 1.0, 0.0)
        else:
            self._import[:] = (math.nan, 0.0, self._image.age_s[at])


def _arrays(settings: Settings) -> tuple[Floats, int, Floats, Floats]:
    params = kernel_params(settings)
    battery = [[one.charge_w_max, one.discharge_w_max, one.ramp_w_per_s, one.energy_ws] for one in params.battery]
    return np.array(params.scalars()), params.delay_steps, np.array(battery), np.array(params.meter_sign)
