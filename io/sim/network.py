"""The 22.9 kV connection: who supplies whom, what is lost on the way, voltage and frequency.

Quasi-static: each area hangs on one cable whose loss grows with the square of its flow, and both on one transformer.
Losses are taken from the flow below them, so that the balance closes exactly in one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionParams:
    """The connection to the utility.

    Attributes:
        rating_w: contract and transformer rating; also the base of the losses.
        nominal_v: line-to-line voltage.
        nominal_hz: frequency.
        short_circuit_va: strength of the grid behind the connection.
        x_over_r: reactance over resistance of that grid.
        no_load_loss: transformer's iron loss over the rating.
        load_loss: transformer's copper loss at the rating over the rating.
        cable_loss: each area cable's loss at the rating over the rating.
        noise_v: standard deviation of the grid's own voltage, over the nominal voltage.
        noise_hz: standard deviation of the grid's frequency, Hz.
    """

    rating_w: float = 2_500_000.0
    nominal_v: float = 22_900.0
    nominal_hz: float = 60.0
    short_circuit_va: float = 120e6
    x_over_r: float = 3.0
    no_load_loss: float = 0.0012
    load_loss: float = 0.009
    cable_loss: float = 0.012
    noise_v: float = 0.002
    noise_hz: float = 0.008


@dataclass(frozen=True, slots=True)
class Flow:
    """What crosses the connection.

    Attributes:
        import_w: active power from the utility, positive into the city.
        import_var: reactive power from the utility.
        loss_w: transformer and cables.
        voltage_v: line-to-line voltage at the connection.
        frequency_hz: frequency.
    """

    import_w: float
    import_var: float
    loss_w: float
    voltage_v: float
    frequency_hz: float


def flow(area_net_w: list[float], net_var: float, params: ConnectionParams, grid_pu: float, grid_hz: float) -> Flow:
    """Flow for what the areas take.

    Args:
        area_net_w: loads less generation of each area.
        net_var: reactive power taken by all.
        params: the connection.
        grid_pu: the grid's own voltage over nominal.
        grid_hz: the grid's frequency.
    """
    base = params.rating_w
    cables = 0.0
    below = 0.0
    for net in area_net_w:
        cables += params.cable_loss * net * net / base
        below += net
    below += cables
    transformer = params.no_load_loss * base + params.load_loss * (below * below + net_var * net_var) / base
    import_w = below + transformer
    import_var = net_var + 0.05 * (below * below + net_var * net_var) / base
    resistive = 1.0 / math.hypot(1.0, params.x_over_r)
    drop_pu = (resistive * import_w + resistive * params.x_over_r * import_var) / params.short_circuit_va
    return Flow(import_w, import_var, cables + transformer, params.nominal_v * (grid_pu - drop_pu), grid_hz)


DEAD = Flow(0.0, 0.0, 0.0, 0.0, 0.0)
"""Behind an open breaker, without a unit that forms the grid, nothing flows and nothing is live."""
