"""Measured budgets of the state estimator; run by ``make bench``."""

import numpy as np
import pytest

from gwanje.control.microgrid.estimation.bad_data import Judge
from gwanje.control.microgrid.peers.measured_feeders import measured
from gwanje.control.microgrid.peers.random_feeders import random_feeder
from gwanje.ext.state_estimation import RadialEstimator

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("n", [100, 10_000])
def test_estimate_with_its_tests(benchmark, n):
    """Budget: 100 buses ≤ 1 ms, 10 000 ≤ 20 ms, from flat voltages."""
    rng = np.random.default_rng(n)
    one = measured(random_feeder(n, n), rng)
    judge, z = Judge(RadialEstimator(one.feeder.parent, one.feeder.r, one.feeder.x)), one.read(rng)
    verdict = benchmark(judge.judge, z, one.sigma)
    assert verdict.iterations > 0
    assert verdict.settled
