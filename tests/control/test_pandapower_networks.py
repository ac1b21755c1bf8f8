"""Networks that are not ours: the voltages that pandapower found, and our kernels on the same numbers."""

import json
from pathlib import Path

import pytest

from gwanje.control.microgrid.peers.pandapower_networks import apart, apart_unbalanced

STORED = Path(__file__).parents[1] / "data" / "control" / "pandapower_networks"


def stored(name):
    return json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "n"), [("cigre_mv", 18), ("cigre_lv", 41), ("case33bw", 33)])
def test_every_voltage_of_a_balanced_network_is_that_of_pandapower(name, n):
    columns = stored(name)
    assert len(columns["parent"]) == n
    assert apart(columns) < 1e-8


def test_every_voltage_of_the_european_low_voltage_feeder_is_that_of_pandapower():
    columns = stored("european_lv")
    assert len(columns["parent"]) == 906
    assert len(columns["loads"]) == 55
    assert apart_unbalanced(columns) < 1e-5


def test_a_wrong_number_would_be_seen():
    columns = stored("case33bw")
    columns["p"][5] *= 1.001
    assert apart(columns) > 1e-7
