"""Swaps parameters of the compiled loop, which tries both on one process image before it goes on with the new ones."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.control.loop import kernel_arrays
from gwanje.control.microgrid.params import ControlConfig
from gwanje.control.tuning.hand import BUMP_SHARE_MAX, TRIES, Stage, Swapped
from gwanje.ext.control_loop import SWAP_DONE, SWAP_REFUSES


class Loop(Protocol):
    """What is needed of the compiled loop; see :class:`gwanje.ext.control_loop.ControlLoop`."""

    @property
    def swapped(self) -> tuple[int, float]:
        """State of the last change, and its bump."""

    def set_params(
        self, scalars: npt.NDArray[np.float64], delay_steps: int, battery: npt.NDArray[np.float64],
        meter_sign: npt.NDArray[np.float64], bump_w_max: float, tries: int = 100, force: bool = False,
    ) -> None:  # fmt: skip
        """Go on with other parameters."""

    def set_tuning(self, change_set: float, kept: float, watch_left_s: float) -> None:
        """Show what is tuned."""


class LoopHand:
    """See :class:`gwanje.control.tuning.desk.Hand`.

    Args:
        loop: that runs.
        rating_w: of the connection.
    """

    def __init__(self, loop: Loop, rating_w: float) -> None:
        self._loop = loop
        self._rating_w = rating_w

    @property
    def swapped(self) -> Swapped:
        """Of the last swap."""
        state, bump_w = self._loop.swapped
        stage = {SWAP_DONE: Stage.DONE, SWAP_REFUSES: Stage.REFUSED}.get(state, Stage.TRIED)
        return Swapped(stage, 100.0 * bump_w / self._rating_w)

    def swap(self, config: ControlConfig, *, force: bool) -> None:
        """Go on with other parameters; raises ValueError and RuntimeError as the loop does."""
        params = config.kernel_params(self._rating_w)
        scalars, battery, meter_sign = kernel_arrays(params)
        bump_w_max = BUMP_SHARE_MAX * self._rating_w
        self._loop.set_params(scalars, params.delay_steps, battery, meter_sign, bump_w_max, TRIES, force)

    def show(self, on_watch: int, last_kept: int, watch_left_s: float) -> None:
        """Show what is tuned, in tags of the loop's."""
        self._loop.set_tuning(on_watch, last_kept, watch_left_s)
