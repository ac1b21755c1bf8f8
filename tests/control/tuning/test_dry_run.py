"""Dry runs: figures of known responses, the plant's model against what is known of the loop, gaps of a recording."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tuning_rig import CONTENT, RATING_W, config

from gwanje.control.microgrid.params import parse
from gwanje.control.tuning.dry_run import figures_of, plant_of, replay, run, steps
from gwanje.control.tuning.recording import NothingRecordedError, recorded_world, tags_of
from gwanje.control.tuning.registry import with_values
from gwanje.control.tuning.responses import envelope, hold_figures, step_figures
from gwanje.core.tags.quality import Quality

S = 1_000_000_000


def test_figures_of_a_first_order_response():
    t = np.arange(2_000) * 0.01
    found = step_figures(1e5 * np.exp(-t), 1e5, 0.01)
    assert found.overshoot_pct == 0.0
    assert found.settling_s == pytest.approx(math.log(20.0), abs=0.02)
    assert found.rise_s == pytest.approx(math.log(9.0), abs=0.02)
    assert found.iae_kws == pytest.approx(100.0, rel=0.01)


def test_figures_of_an_oscillation():
    t = np.arange(4_000) * 0.01
    zeta, omega = 0.2, 2.0
    damped = omega * math.sqrt(1 - zeta**2)
    error_w = -1e5 * np.exp(-zeta * omega * t) * (np.cos(damped * t) + zeta * omega / damped * np.sin(damped * t))
    found = step_figures(error_w, -1e5, 0.01)
    assert found.overshoot_pct == pytest.approx(100 * math.exp(-math.pi * zeta / math.sqrt(1 - zeta**2)), abs=0.5)
    assert math.isnan(step_figures(error_w[:100], -1e5, 0.01).settling_s)


def test_figures_of_a_stretch_leave_out_what_does_not_count():
    error_w, counts = np.full(100, 25e3), np.ones(100, bool)
    error_w[:50], counts[:50] = 1e9, False
    found = hold_figures(error_w, np.arange(100) * 1e3, np.zeros(100, bool), counts, RATING_W, 0.01)
    assert (found.rms_pct, found.max_pct, found.rated_s) == pytest.approx((1.0, 1.0, 0.5))
    assert found.travel_mw == pytest.approx(0.05)
    assert math.isnan(hold_figures(error_w, error_w, counts, np.zeros(100, bool), RATING_W, 0.01).rms_pct)


def test_an_envelope_holds_every_value():
    values = np.random.default_rng(1).normal(size=1_003)
    low, high = envelope(values, 40)
    assert len(low) == 40
    assert (low.min(), high.max()) == (values.min(), values.max())
    assert (low <= high).all()


def test_the_steps_of_the_parameters_in_force_are_those_of_the_loop():
    """As tests/control/test_tie_line_simulation.py has them for a plant of its own: 0.5 s to ±5 %, hidden in 2 s."""
    found = {one.name: one for one in steps(config(), config(), RATING_W, plant_of(config()))}
    assert found["setpoint"].figures_before.settling_s <= 0.5
    assert found["setpoint"].figures_before.overshoot_pct <= 5.0
    assert found["load"].figures_before.settling_s <= 0.8
    assert found["hidden_load"].figures_before.settling_s <= 2.0
    for one in found.values():
        assert np.array_equal(one.before, one.after)
        assert one.before[0] == pytest.approx(one.step_w, rel=0.02)


def test_the_plant_stays_when_its_model_changes():
    wrong = with_values(config(), {"tie_line.path_delay_s": 0.0, "tie_line.inverter_lag_s": 0.0, "tie_line.kp": 0.8})
    hidden = steps(config(), wrong, RATING_W, plant_of(config()))[2]
    assert hidden.figures_after.overshoot_pct > hidden.figures_before.overshoot_pct + 5.0
    assert hidden.figures_after.iae_kws != hidden.figures_before.iae_kws
    assert figures_of([hidden], None)["hidden_load.overshoot_pct"] == hidden.figures_after.overshoot_pct


class Record:
    """Two minutes of 20 Hz: a load that swings, PV, and a battery that had held the import at 200 kW."""

    def __init__(self, seconds=60.0):
        at = np.arange(round(seconds * 20)) / 20
        self.utc_ns = (at * S).astype(np.int64) + 5 * S
        self.load_w = 8e5 + 1e5 * np.sin(at / 3)
        pv_w = np.full(len(at), 5e5)
        discharge_w = self.load_w * 1.02 - pv_w - 2e5
        values = {
            "tie.import_w": np.full(len(at), 2e5), "control.tie.import_setpoint_w": np.full(len(at), 2e5),
            "load.load_w": self.load_w, "pv.generation_w": pv_w, "ess.discharge_w": discharge_w,
            "ess.soc": np.full(len(at), 0.6),
        }  # fmt: skip
        self.columns = {tag: (self.utc_ns, one, np.zeros(len(at), np.int64)) for tag, one in values.items()}
        self.until_ns = 5 * S + round(seconds * S)

    def world(self, site=None):
        return recorded_world(site or config(), self.columns, 5 * S, self.until_ns)


def test_a_recorded_stretch_is_replayed():
    record = Record()
    world = record.world()
    assert set(record.columns) == set(tags_of(config()))
    assert world.gaps == ()
    assert world.net_load_w[2_000] == pytest.approx(record.load_w[400] * 1.02 - 5e5, abs=100.0)
    found = replay(config(), with_values(config(), {"tie_line.lead_s": 0.0}), RATING_W, world, plant_of(config()))
    assert found.figures_before.rms_pct <= 0.1
    assert found.figures_after.rms_pct > 2 * found.figures_before.rms_pct  # the lead makes up for the path's delay
    assert found.figures_before.rated_s == pytest.approx(50.0, abs=0.1)


def test_gaps_are_said_and_do_not_count():
    record = Record()
    _, value, quality = record.columns["tie.import_w"]
    quality[400:500] = int(Quality.BAD)  # 20 … 25 s
    keep = np.r_[0:800, 900 : len(value)]  # 40 … 45 s
    utc_load, load, load_quality = record.columns["load.load_w"]
    record.columns["load.load_w"] = utc_load[keep], load[keep], load_quality[keep]
    world = record.world()
    assert [(round(gap.from_s), round(gap.until_s), gap.tag) for gap in world.gaps] == [
        (20, 25, "tie.import_w"), (40, 45, "load.load_w"),
    ]  # fmt: skip
    assert not world.counts[:1_000].any()
    assert not world.counts[2_000:3_490].any()
    trace = run(config(), RATING_W, world, plant_of(config()))
    assert np.isfinite(trace.error_w).all()


def test_what_was_not_recorded_cannot_be_replayed():
    record = Record()
    del record.columns["ess.discharge_w"]
    with pytest.raises(NothingRecordedError, match=r"ess.discharge_w"):
        record.world()
    record = Record()
    del record.columns["control.tie.import_setpoint_w"]
    del record.columns["ess.soc"]
    world = record.world()
    assert world.setpoint_w[0] == pytest.approx(2e5)
    assert world.soc == (0.5,)


def test_a_site_without_meters_has_hidden_loads_only():
    site = replace(parse(CONTENT), meter=())
    world = Record().world(site)
    assert world.meters_w.shape == (6_000, 0)
    assert run(site, RATING_W, replace(world, net_load_w=world.net_load_w * 0), plant_of(site)).error_w.shape == (
        6_000,
    )
