"""Binding of the compiled loop (``ext/control_loop.pyx``) to a site: tag ids, parameters, processor."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.params import Battery, ControlConfig
from gwanje.core.tags.table import TagTable
from gwanje.ext.control_loop import FAST, SLOW, ControlLoop
from gwanje.ext.reference.tie_line import TieLineParams
from gwanje.ext.tagstore import StoreView

NOT_TRIED = -1
LAW_TAG = "microgrid.state.law"
"""Law of the microgrid's controller, by its place in :data:`gwanje.ext.control_loop.LAWS`."""
LIMIT_TAG = "microgrid.tie.import_limit_w"
"""Greatest import that the microgrid's controller allows."""


def input_ids(config: ControlConfig, tags: TagTable) -> npt.NDArray[np.int32]:
    """Ids of what the loop reads, in its order; -1 where the site has no such tag."""
    tie = config.tie_line
    names = [tie.import_tag, *(one.tag for one in config.meter)]
    for one in config.battery:
        names += [one.discharge_tag, one.soc_tag, one.online_tag, one.charge_max_tag, one.discharge_max_tag]
    names += [lease_tag(config), tie.breaker_tag, LAW_TAG, LIMIT_TAG]
    names += [wanted_tag(one) for one in config.battery]
    return np.array([tags.index(name) if name in tags else -1 for name in names], np.int32)


def wanted_tag(battery: Battery) -> str:
    """Tag in which a microgrid's controller says what it wants of a battery."""
    return f"microgrid.{battery.setpoint_tag.split('.')[1]}.discharge_wanted_w"


def lease_tag(config: ControlConfig) -> str:
    """Tag in which the core shows until when the loop's lease is valid."""
    return f"system.lease.{config.tie_line.lease}_until_s"


def kernel_arrays(
    params: TieLineParams,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scalars, batteries (n, 4) and meter signs as the kernels take them."""
    battery = [[one.charge_w_max, one.discharge_w_max, one.ramp_w_per_s, one.energy_ws] for one in params.battery]
    return np.array(params.scalars()), np.array(battery), np.array(params.meter_sign, np.float64)


def build_loop(config: ControlConfig, rating_w: float, tags: TagTable, store: StoreView) -> ControlLoop:
    """The loop of a site; the caller holds the writer's place of the owner ``control``."""
    params = config.kernel_params(rating_w)
    scalars, battery, meter_sign = kernel_arrays(params)
    fast = [tags.index(name) for name in FAST] + [tags.index(one.setpoint_tag) for one in config.battery]
    return ControlLoop(
        store,
        scalars,
        params.delay_steps,
        battery,
        meter_sign,
        input_ids(config, tags),
        np.array(fast, np.int32),
        np.array([tags.index(name) for name in SLOW], np.int32),
        round(config.loop.period_ms * 1e6),
    )


def processors(threads: int, allowed: frozenset[int]) -> tuple[int, ...]:
    """Processors for the loop's threads: one each, the last ones this process may use; (-1,) where none is known."""
    return tuple(sorted(allowed)[-threads:]) or (-1,)


def allowed_processors() -> frozenset[int]:
    """Processors that this process may use."""
    return frozenset(os.sched_getaffinity(0))


def refusals(loop: ControlLoop) -> dict[str, str]:
    """What the machine refused the loop, in words; empty when it granted all that was asked."""
    names = ("SCHED_FIFO", "processor", "memory lock")
    tried = zip(names, loop.refused, strict=True)
    return {name: os.strerror(number) for name, number in tried if number not in (0, NOT_TRIED)}
