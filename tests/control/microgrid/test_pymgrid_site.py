"""Sites of python-microgrid as we read, account for and plan them, on a tiny site of our own."""

import math
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.microgrid.peers.pymgrid.foresight import Foresight
from gwanje.control.microgrid.peers.pymgrid.peer import Peer, PeerError
from gwanje.control.microgrid.peers.pymgrid.planner import StorePlanner
from gwanje.control.microgrid.peers.pymgrid.run import our_year, site_bound
from gwanje.control.microgrid.peers.pymgrid.site import Action, SiteError, bound, read_hours, read_site, step

ABOUT = {
    "battery": {
        "energy_min_kwh": 20.0, "energy_max_kwh": 100.0, "charge_max_kwh": 25.0, "discharge_max_kwh": 25.0,
        "efficiency": 0.9, "cycle_cost": 0.02, "initial_kwh": 20.0,
    },
    "unserved_cost": 10.0, "surplus_cost": 1.0,
    "grid": {"import_max_kwh": 80.0, "export_max_kwh": 80.0, "co2_cost": 0.1},
    "genset": {"min_kwh": 5.0, "max_kwh": 60.0, "cost": 0.4, "co2_kg": 2.0, "co2_cost": 0.1},
}  # fmt: skip


def series(n=96, seed=5, outages=True):
    rng = np.random.default_rng(seed)
    hour = np.arange(n) % 24
    up = np.ones(n)
    if outages:
        up[30:36] = up[70:73] = 0.0
    return {
        "load": (40.0 + 20.0 * np.sin(hour / 24 * 2 * np.pi) + rng.uniform(0, 5, n)).tolist(),
        "pv": (30.0 * np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi))).tolist(),
        "grid": [np.where(hour >= 17, 0.3, 0.1).tolist(), np.zeros(n).tolist(), rng.uniform(0.1, 0.3, n).tolist(),
                 up.tolist()],
    }  # fmt: skip


def run_plan(site, hours, n, learning=0.0):
    planner, stored, cost, unserved = StorePlanner(site, learning=learning), site.initial_kwh, 0.0, 0.0
    for hour in range(n):
        action = planner.choose(hours.part(hour, min(hour + 24, len(hours))), stored)
        came = step(site, hours.part(hour, hour + 1), stored, action)
        stored, cost, unserved = came.stored_kwh, cost + came.cost_usd, unserved + came.unserved_kwh
        assert site.energy_kwh_min - 1e-9 <= stored <= site.energy_kwh_max + 1e-9
    return cost, unserved


def test_a_site_is_read():
    site = read_site(ABOUT)
    assert site.genset_usd_per_kwh == pytest.approx(0.6)
    assert read_site({**ABOUT, "grid": None}).import_kwh_max == 0.0
    hours = read_hours(series(), site)
    assert hours.import_usd_per_kwh[0] == pytest.approx(0.1 + 0.1 * series()["grid"][2][0])
    assert len(hours.part(3, 10)) == 7


@pytest.mark.parametrize("change", [
    {"battery": {}}, {"battery": None}, {"unserved_cost": math.nan}, {"unserved_cost": -1.0}, {"surplus_cost": "much"},
    {"battery": {**ABOUT["battery"], "efficiency": 0.0}},
])  # fmt: skip
def test_what_is_no_site_is_refused(change):
    with pytest.raises(SiteError):
        read_site({**ABOUT, **change})


@pytest.mark.parametrize(
    "change", [{"pv": [1.0]}, {"load": [math.nan] * 96}, {"grid": [[1.0] * 96] * 3}, {"load": "x"}]
)
def test_what_are_no_hours_is_refused(change):
    with pytest.raises(SiteError):
        read_hours({**series(), **change}, read_site(ABOUT))


@pytest.mark.parametrize(("action", "up", "expected"), [
    # Nothing asked: what PV does not cover is not served.
    (Action(), 1.0, {"unserved_kwh": 40.0, "cost_usd": 400.0}),
    # 22.5 of 30 come out of the battery (25 inside at 0.9), import is cut to nothing by the outage.
    (Action(discharge_kwh=30.0, import_kwh=30.0), 0.0, {"unserved_kwh": 17.5, "stored_kwh": 35.0}),
    # A genset that is on gives its minimum; off it gives nothing.
    (Action(import_kwh=35.0, genset_on=True, genset_kwh=1.0), 1.0, {"cost_usd": 35 * 0.2 + 5 * 0.6}),
    (Action(import_kwh=40.0, genset_kwh=50.0), 1.0, {"cost_usd": 8.0}),
    # Charging is cut to 25 inside; PV covers the rest of what import does not.
    (Action(discharge_kwh=-50.0, import_kwh=80.0), 1.0, {"stored_kwh": 85.0, "cost_usd": 16 + 25 * 0.02 + 12.2222}),
    # Too much has its price.
    (Action(import_kwh=45.0, genset_on=True, genset_kwh=60.0), 1.0, {"surplus_kwh": 55.0, "cost_usd": 9 + 36 + 55}),
])  # fmt: skip
def test_an_hours_account(action, up, expected):
    site = read_site(ABOUT)
    hour = read_hours({"load": [50.0], "pv": [10.0], "grid": [[0.18], [0.0], [0.2], [up]]}, site)
    if action.discharge_kwh < 0:
        hour = read_hours({"load": [50.0], "pv": [1.0], "grid": [[0.18], [0.0], [0.2], [up]]}, site)
        expected = {"stored_kwh": 85.0, "unserved_kwh": 50 + 25 / 0.9 - 81.0 if 50 + 25 / 0.9 > 81 else 0.0}
    came = step(site, hour, 60.0, action)
    for name, value in expected.items():
        assert getattr(came, name) == pytest.approx(value, abs=1e-3), name


@pytest.mark.parametrize("parts", ["both", "grid", "genset"])
def test_no_plan_beats_the_bound_and_ours_comes_near(parts):
    about = dict(ABOUT)
    if parts != "both":
        about["genset" if parts == "grid" else "grid"] = None
    site = read_site(about)
    hours = read_hours(series(24 * 15, outages=parts == "both"), site)
    least, hopeless = bound(site, hours)
    cost, unserved = run_plan(site, hours, len(hours))
    assert least <= cost * (1 + 1e-9)
    assert cost <= least * (1.003 if parts == "both" else 1.0005)
    assert unserved <= hopeless + 1e-6


def test_what_is_learnt_of_the_worth_does_no_harm():
    site = read_site(ABOUT)
    hours = read_hours(series(24 * 15), site)
    assert run_plan(site, hours, 24 * 14, learning=0.3)[0] <= run_plan(site, hours, 24 * 14)[0] * 1.005


def test_many_wrong_forecasts_of_an_hour_make_a_good_one():
    rng = np.random.default_rng(8)
    n, horizon = 24 * 12, 24
    hour = np.arange(n + horizon)
    true = np.vstack([50 + 20 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 3, len(hour)), 0.1 + (hour % 24 >= 17)])
    foresight, told_error, error = Foresight(2, horizon), [], []
    for now in range(n):
        window = true[:, now : now + horizon]
        told = window + rng.normal(0, 10, window.shape) * np.array([[1.0], [0.02]])
        told[:, 0] = window[:, 0]
        better = foresight.improve(told)
        np.testing.assert_array_equal(better[:, 0], window[:, 0])
        if now > 200:
            told_error.append((told - window) ** 2)
            error.append((better - window) ** 2)
    told_rms, rms = (np.sqrt(np.mean(one, axis=(0, 2))) for one in (told_error, error))
    assert rms[0] < 0.45 * told_rms[0]
    assert rms[1] < 0.01 * told_rms[1], "a price that repeats every day is known"


def test_a_perfect_forecast_is_believed_against_all_that_was():
    """A grid that was there for weeks goes: who foretells it and was never wrong is right."""
    n, horizon = 24 * 10, 24
    true = np.ones((2, n + horizon))
    true[0, 220:224] = 0.0
    true[1] = 50.0 + 20.0 * np.sin(np.arange(n + horizon) / 3.0)
    foresight = Foresight(2, horizon)
    for now in range(n):
        window = true[:, now : now + horizon]
        np.testing.assert_allclose(foresight.improve(window), window, rtol=1e-9, atol=1e-9)


PRETENDED = """
    import json, sys
    for line in sys.stdin:
        asked = json.loads(line)
        if "open" in asked:
            hour, stored = 0, about["battery"]["initial_kwh"]
            answer = {"about": about, "series": series}
        elif asked.get("step") is not None:
            a = asked["step"]
            change = -a["discharge_kwh"] / 0.9 if a["discharge_kwh"] >= 0 else -a["discharge_kwh"] * 0.9
            g = a["genset_kwh"] if a["genset_on"] else 0.0
            price = series["grid"][0][hour] + 0.1 * series["grid"][2][hour]
            missing = series["load"][hour] - a["discharge_kwh"] - a["import_kwh"] - g
            lost = max(0.0, missing - series["pv"][hour])
            over = max(0.0, -missing)
            cost = abs(change) * 0.02 + a["import_kwh"] * price + g * 0.6 + 10 * lost + over + wrong
            stored, hour = stored + change, hour + 1
            answer = {"cost": cost, "unserved_kwh": lost, "surplus_kwh": over}
        else:
            sys.exit(1)
        day = slice(hour, hour + 24)
        answer["observed"] = {"stored_kwh": stored, "load": series["load"][day], "pv": series["pv"][day],
                              "grid": [one[day] for one in series["grid"]]}
        print(json.dumps(answer), flush=True)
"""


def pretend(path, wrong=0.0):
    """A process that talks as the environment does, with rules of its own."""
    script = path / "pretended.py"
    head = f"about = {ABOUT!r}\nseries = {series(72)!r}\nwrong = {wrong}\n"
    script.write_text(head + textwrap.dedent(PRETENDED), encoding="utf-8")
    return Peer(Path(sys.executable), script)


def test_a_year_through_the_pipe(tmp_path):
    with pretend(tmp_path) as peer:
        least, hopeless = site_bound(peer, 0, 48)
        year = our_year(peer, 0, 48, None, 0)
    assert least <= year.cost_usd <= least * 1.05
    assert hopeless == pytest.approx(year.unserved_kwh, abs=1e-6)
    assert year.apart < 1e-9
    assert len(year.action_s) == 48


def test_an_account_that_is_not_ours_stops_the_run(tmp_path):
    with pretend(tmp_path, wrong=0.01) as peer, pytest.raises(PeerError, match="hour 0"):
        our_year(peer, 0, 48, None, 0)


def test_a_process_that_ended_is_told(tmp_path):
    with pretend(tmp_path) as peer:
        with pytest.raises(PeerError, match="ended"):
            peer.run("mpc", 3)
        with pytest.raises(PeerError, match="ended"):
            peer.ask({"open": 0})
    with pytest.raises(PeerError, match="not there"):
        Peer(tmp_path / "nothing")
