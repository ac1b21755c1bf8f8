"""Examples in docstrings are true."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["gwanje.hmi.items.chart", "gwanje.hmi.items.value"])
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
