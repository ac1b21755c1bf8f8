"""Reactive power: a PI holds it at the connection, voltage bends it, and inverters share it by ability.

Each inverter can give what its rating leaves beside its active power. The voltage of the city's bus bends the sum
beyond a dead band (Volt/VAr): a high voltage absorbs, a low one delivers, whatever the connection is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gwanje.control.microgrid.settings import Settings
from gwanje.ext.droop import Pi, droop


def ability_var(apparent_va: float, active_w: float) -> float:
    """Reactive power that a rating leaves beside an active power; the rating's half when that is not known."""
    if active_w != active_w:
        return 0.5 * apparent_va
    return math.sqrt(max(apparent_va * apparent_va - active_w * active_w, 0.0))


def share(sum_var: float, ability: Sequence[float]) -> list[float]:
    """A sum in proportion to abilities, never beyond them."""
    total = sum(ability)
    if total <= 0.0:
        return [0.0] * len(ability)
    part = min(max(sum_var / total, -1.0), 1.0)
    return [part * one for one in ability]


class ReactiveLaw:
    """Reactive law of the connection.

    Args:
        settings: of the site.

    Attributes:
        sum_var: delivered by all inverters in sum, as last shared.
        limited: the inverters cannot give what is asked.
    """

    def __init__(self, settings: Settings) -> None:
        one = settings.reactive
        self._pi = Pi(one.kp, one.ki_per_s, one.tracking_s)
        self._settings = settings
        self.target_var = one.import_target_var
        self.sum_var = 0.0
        self.limited = False
        self._error_var = self._voltage_pu = self._ability_var = math.nan

    def retune(self, settings: Settings) -> None:
        """Other gains; what is asked for stays, also where the voltage bends it otherwise now."""
        one, bent_var = settings.reactive, self._bent(self._voltage_pu, self._ability_var)
        wanted_var = self._pi.output + bent_var
        self._pi.tune(one.kp, one.ki_per_s, one.tracking_s)
        if one.import_target_var != self._settings.reactive.import_target_var:
            self.target_var = one.import_target_var
        self._settings = settings
        self._pi.seed(wanted_var - self._bent(self._voltage_pu, self._ability_var), self._error_var)

    def begin(self, delivered_var: float, import_var: float) -> None:
        """The law comes into force with what is delivered now."""
        error = import_var - self.target_var
        self._pi.seed(delivered_var, error if math.isfinite(error) else 0.0)
        self.sum_var = delivered_var

    def step(self, import_var: float, voltage_pu: float, ability: Sequence[float], dt_s: float) -> list[float]:
        """One period; reactive power of each inverter, delivered is positive.

        Args:
            import_var: measured at the connection; NaN holds the integral.
            voltage_pu: of the city's bus; NaN does not bend.
            ability: of each inverter.
            dt_s: since the last step.
        """
        one, total = self._settings.reactive, sum(ability)
        self._error_var, self._voltage_pu, self._ability_var = import_var - self.target_var, voltage_pu, total
        wanted = self._pi.step(import_var - self.target_var, self.sum_var - self._bent(voltage_pu, total), dt_s)
        wanted += self._bent(voltage_pu, total)
        if voltage_pu > self._settings.site.voltage_high_pu:
            wanted = min(wanted, 0.0)
        elif voltage_pu < self._settings.site.voltage_low_pu:
            wanted = max(wanted, 0.0)
        reach = one.ramp_share_per_s * max(total, 1.0) * dt_s
        wanted = min(max(wanted, self.sum_var - reach), self.sum_var + reach)
        parts = share(wanted, ability)
        self.sum_var = sum(parts)
        self.limited = abs(wanted - self.sum_var) > 1e-3 * max(total, 1.0)
        return parts

    def rest(self, ability: Sequence[float], dt_s: float) -> list[float]:
        """Out of force: what is delivered goes back to nothing within its ramp."""
        reach = 0.2 * self._settings.reactive.ramp_share_per_s * max(sum(ability), 1.0) * dt_s
        self.sum_var += min(max(-self.sum_var, -reach), reach)
        return share(self.sum_var, ability)

    def _bent(self, voltage_pu: float, total: float) -> float:
        one = self._settings.reactive
        if total != total:
            return 0.0
        return droop(voltage_pu - 1.0, -one.volt_var_slope * total, one.volt_var_deadband_pu, total)
