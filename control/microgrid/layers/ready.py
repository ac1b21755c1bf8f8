"""Ready for an island: what is beyond the forming units' reach if the utility went away now, one pure look a second.

When the utility goes away the units that form the grid carry at once what was imported, beside what they give already;
and until the breaker opens also what others draw from the piece of the utility's line that is left. Their power bounds
the first, their inverters' current both together: beyond it the voltage falls and takes the island along. Nothing that
is done after the loss is quick enough, so it is done before: flexible loads give way, then a generator runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gwanje.control.microgrid.device_settings import Battery
from gwanje.control.microgrid.settings import Ready


@dataclass(frozen=True, slots=True)
class Reach:
    """What the forming units would carry and what they can, W.

    Attributes:
        needed_w: their discharge without the utility.
        limit_w: the most that they may be needed for.
    """

    needed_w: float
    limit_w: float

    @property
    def short_w(self) -> float:
        """Power that must go before the utility does; nothing while the city is ready."""
        return max(self.needed_w - self.limit_w, 0.0)

    def room_w(self, band_w: float) -> float:
        """What may come back with the city still ready, and a band below the limit left free."""
        return max(self.limit_w - band_w - self.needed_w, 0.0)


def look(
    import_w: float, discharge_w: Sequence[float], high_w: Sequence[float], forms: Sequence[bool],
    batteries: Sequence[Battery], params: Ready,
) -> Reach | None:  # fmt: skip
    """How far the forming units reach; None while the import is not known, or nothing can form.

    Args:
        import_w: measured, or what everything else says that it is; NaN when neither is known.
        discharge_w: (n,) what each battery gives; NaN counts as nothing.
        high_w: (n,) greatest power of each.
        forms: (n,) whether each can form the grid now.
        batteries: with their ratings.
        params: reserve, and the piece of the line.
    """
    if not any(forms) or import_w != import_w:
        return None
    gives_w = power_w = apparent_va = 0.0
    for one, discharge, high, can in zip(batteries, discharge_w, high_w, forms, strict=True):
        if can:
            gives_w += discharge if discharge == discharge else 0.0
            power_w += high
            apparent_va += one.apparent_va
    limit_w = min((1.0 - params.reserve_share) * power_w, apparent_va - params.piece_w)
    return Reach(import_w + gives_w, max(limit_w, 0.0))
