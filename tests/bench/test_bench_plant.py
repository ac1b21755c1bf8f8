"""The simulated microgrid: `gwanje bench plant --peers` measures it beside ANDES."""

import pytest

from gwanje.io.sim.microgrid.bench import enlarged, step

pytestmark = pytest.mark.bench


def test_a_period_of_a_controller(benchmark):
    """Budget: 10 steps of 1 ms with 100 buses and 20 units, told and looked at, in 0.3 ms."""
    plant = enlarged()
    benchmark(step, plant, 0.01)
    assert abs(plant.truth()["energy_gap_wh"]) < 1e-3
