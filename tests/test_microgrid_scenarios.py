"""The simulated microgrid under its controller, in short: the whole of it is in ``gwanje scenario``."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.microgrid.settings import read_settings
from gwanje.core.closed_loop.comparison import named
from gwanje.core.closed_loop.runner import ClosedLoop, Event
from gwanje.core.closed_loop.script import load_loop

SITE = Path(__file__).resolve().parents[1] / "configs" / "chungbuk"


def run(name, events, until_s, signals, entry=None, seed=1, fine=()):
    """The scenario's plant and ways with other events; utilities are entered after five seconds."""
    script = load_loop(SITE, name)
    settings = read_settings(SITE)
    settings = replace(settings, modes=replace(settings.modes, enter_service_s=5.0))
    plant = named(script.plant)(SITE, seed, script.start_s, dict(script.plant_options))
    options = {**script.controller_options, "settings": settings} if entry is None else {}
    controller = named(entry or script.controller)(SITE, options)
    loop = ClosedLoop(plant, controller, script.up, script.down, seed, signals, 0.1, fine)
    return loop.run(events, until_s)


def test_the_tie_line_follows_a_step():
    events = [Event(1.0, "ask", "import_setpoint", values={"w": 7e5}),
              Event(8.43, "ask", "import_setpoint", values={"w": 2e5})]  # fmt: skip
    tie_w = run("tie-line", events, 12.0, ("tie_w",)).series["tie_w"]
    assert np.abs(tie_w[60:84] - 7e5).max() < 0.02 * 2.5e6
    assert np.abs(tie_w[90:] - 2e5).max() < 0.05 * 2.25e6


def test_the_island_is_held_when_the_utility_goes_away():
    events = [Event(1.0, "ask", "import_setpoint", values={"w": 5e5}), Event(8.0, "disturb", "grid_lost")]
    record = run("island-unplanned", events, 14.0, ("frequency_hz", "bus_live"), fine=[(7.9, 9.0)])
    assert record.series["bus_live"].min() == 1.0
    assert [mode for _at, mode in record.modes[-2:]] == ["unplanned", "islanded"]
    after = record.at_s >= 8.16
    assert record.series["frequency_hz"][after].min() > 59.3
    assert abs(record.series["frequency_hz"][-1] - 60.0) < 0.05
    assert record.truth["unserved_critical_wh"] == 0.0


def test_islanded_as_planned_and_back_inside_the_window():
    events = [Event(2.0, "ask", "island"), Event(12.0, "ask", "reconnect")]
    record = run("resync", events, 45.0, ("breaker_closed", "tie_w"))
    modes = [mode for _at, mode in record.modes if mode != "unknown"]
    assert modes == ["connected", "islanding", "islanded", "resync", "connected"]
    truth = record.truth
    assert (truth["closures"], truth["closures_out_of_window"]) == (1.0, 0.0)
    assert abs(truth["close_angle_rad"]) < math.radians(10.0)
    assert truth["unserved_wh"] == pytest.approx(0.0, abs=1.0)


def test_black_start_serves_the_clinic_first():
    signals = ("bus_live", "jincheon.clinic.load_w", "jincheon.shops.load_w")
    record = run("black-start", [Event(2.0, "ask", "black_start")], 14.0, signals)
    assert record.refused == []
    assert record.modes[-1][1] == "islanded"
    assert record.series["jincheon.clinic.load_w"][-1] > 3e4
    assert record.series["jincheon.shops.load_w"][-1] == 0.0
    assert record.truth["collapses"] == 0.0


def test_beside_it_nobody_and_the_dead_beat_loop_run_on_the_same_plant():
    events = [Event(3.0, "disturb", "load_step", values={"device": "jincheon.shops", "w": 1e5})]
    for entry in load_loop(SITE, "tie-line").beside.values():
        record = run("tie-line", events, 6.0, ("tie_w",), entry=entry)
        assert record.unheard == ()
        assert record.unseen == ()
        assert np.isfinite(record.series["tie_w"]).all()
