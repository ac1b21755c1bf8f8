"""The unbalanced kernel on the IEEE test feeders, against OpenDSS."""

import numpy as np
import pytest

from gwanje.control.microgrid.peers.opendss import MASTERS, feeder_of, solved_circuit

dss = pytest.importorskip("dss", reason="OpenDSS (dss-python) is not installed").DSS


@pytest.mark.parametrize("name", MASTERS)
def test_every_voltage_is_that_of_opendss(name):
    feeder = feeder_of(solved_circuit(dss, name), tolerance=1e-9, sweeps_max=200)
    v = np.empty(feeder.network.n_nodes, complex)
    assert feeder.network.solve(feeder.p, feeder.q, v) > 0
    compared = ~np.isnan(feeder.expected)
    assert compared.sum() >= {"ieee13": 41, "ieee34": 95, "ieee123": 278, "ieee8500": 8_500}[name]
    apart = np.abs(v - feeder.expected)[compared] / feeder.base_v[compared]
    assert apart.max() < 1e-6, f"{apart.max():.1e} per unit"
