"""A short run of every fuzz target with plain mutations, the same every time; `make fuzz` does the long one."""

import importlib.util
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.bus.scan import Scan

HERE = Path(__file__).parent


def _load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mutation = _load("mutation")
targets = _load("targets")


RUNS = {
    "bus": 15_000, "columns": 10_000, "services": 4_000, "answers": 3_000, "site": 150, "modbus": 20_000,
    "camera": 5_000,
}  # fmt: skip


@pytest.mark.parametrize(("name", "n"), RUNS.items())
def test_mutated_input_finds_nothing(name, n):
    target = targets.TARGETS[name]()
    rng = random.Random(7)
    try:
        pool = target.seeds()
        for seed in pool:
            target.run(seed)
        for index in range(n):
            data = target.mutate(rng.choice(pool), rng)
            try:
                target.run(data)
            except Exception as error:
                raise AssertionError(f"{name}: input {index} of seed 7 {data!r}") from error
            if index % 10 == 0 and len(pool) < 2_000:
                pool.append(data)
        assert target.frames >= n
        if name in ("modbus", "camera"):
            assert target.taken > 100, "right answers were among them"
        if name == "services":
            assert target.alive > 1, "time went on with operations under way"
            assert target.left > 10, "commands left for owners that open what is sealed"
    finally:
        target.close()


def test_the_checks_of_the_fuzzer_would_notice():
    """A wrong GOOD, a changed message that is taken and a change for nobody are findings."""
    one = np.ones(1)
    for value, quality in ((np.nan, 0), (1.0, 0xC000), (1.0, 0x2000), (1.0, 1), (np.inf, 0x4000)):
        bad = Scan(np.zeros(1, np.uint32), one * value, np.array([quality], np.uint16), np.zeros(1, np.int64), 0, "", 0)
        with pytest.raises(targets.WrongGood):
            targets.check_scan(bad, 10)
    target = targets.BusTarget()
    raw = next(seed for seed in target.seeds() if seed[0] == targets.RAW)
    target.run(raw)
    target._originals.clear()
    with pytest.raises(targets.WrongGood):
        target.run(raw)


def test_a_core_that_obeyed_nobody_or_twice_would_be_noticed():
    target = targets.ServicesTarget()
    try:
        for message in ({"op": "write", "session": "forged", "command_id": "1"}, {"op": "write", "command_id": "2"}):
            with pytest.raises(targets.Finding, match="for nobody"):
                target._check("command", message, [{"outcome": "accepted"}])
        until = target.clock.mono_ns() + 10**9
        forger = targets.Owner("field", target._bus)
        forger.ask({"op": "write", "command_id": "1"})
        with pytest.raises(targets.Finding, match="no owner takes"):
            target._tick(1)
        good = {"op": "write", "session": target._sessions[0], "command_id": "3", "expires_mono_ns": until}
        target._check("command", good, [{"outcome": "accepted"}])
        with pytest.raises(targets.Finding, match="twice"):
            target._check("command", good, [{"outcome": "accepted"}])
        with pytest.raises(targets.Finding, match="answers"):
            target._check("command", good, [{}, {}])
    finally:
        target.close()
