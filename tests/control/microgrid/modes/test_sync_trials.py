"""Randomised closing trials; ten thousand of them are in the scenario ``resync``."""

from gwanje.control.microgrid.modes.machine import ModeParams
from gwanje.control.microgrid.modes.sync_trials import run, trial


def test_no_trial_closes_outside_the_window():
    found = run(None, 7, 100, {})
    assert found["trials_out_of_window"] == 0
    assert found["trials_closed_share"] > 0.3


def test_a_machine_without_lead_or_margin_would_close_outside():
    careless = {"window_margin": 1.0, "breaker_close_s": 0.0, "order_delay_s_max": 0.0, "sync_model_rad": 1.0}
    assert run(None, 7, 150, careless)["trials_out_of_window"] > 0


def test_equal_seeds_give_equal_trials():
    assert trial(11, ModeParams()) == trial(11, ModeParams())
