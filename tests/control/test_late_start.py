"""Parts that let a starting city go first."""

import logging
import os

import pytest

from gwanje.control.late_start import settled
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.city.run_dir import RunDir, RunInfo
from gwanje.core.clock import NS_PER_S, VirtualClock


@pytest.fixture
def ctx(tmp_path):
    stop, write = os.pipe()
    run = RunDir(tmp_path / "run")
    clock = VirtualClock(mono_ns=100 * NS_PER_S)
    RunInfo(os.getpid(), "", "", 0, 98 * NS_PER_S, "").write(run.path)
    yield PartContext("ledger", None, None, None, clock, None, run.path, RunOptions(), stop, logging.getLogger("test"),
                      Heartbeat(run.path, "ledger")), write, run  # fmt: skip
    run.remove()


def test_waits_from_the_citys_start_and_beats_its_heart(ctx):
    context, _, _ = ctx
    assert settled(context, 10.0)
    assert context.clock.mono_ns() == 108 * NS_PER_S
    assert context.beat.last_mono_ns() >= 107 * NS_PER_S


def test_in_a_running_city_it_waits_for_nothing(ctx):
    context, _, _ = ctx
    assert settled(context, 1.0)
    assert context.clock.mono_ns() == 100 * NS_PER_S


def test_without_a_city_it_waits_for_nothing(ctx, tmp_path):
    context, _, _ = ctx
    context.run_dir = tmp_path
    assert settled(context, 100.0)
    assert context.clock.mono_ns() == 100 * NS_PER_S


def test_asked_to_stop_it_leaves(ctx):
    context, write, _ = ctx
    os.write(write, b"x")
    assert not settled(context, 100.0)
