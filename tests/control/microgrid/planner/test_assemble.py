"""From the site's files and measured values to a problem and a plan."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.planner.assemble import KEPT_SHARE_MAX, Measured, assemble, steps
from gwanje.control.microgrid.planner.check import known_devices, uncovered
from gwanje.control.microgrid.planner.forecast import METHODS, Forecast, ForecastParams
from gwanje.control.microgrid.planner.outlook import (
    QUARTER_NS,
    accumulate,
    ahead,
    begin_quarters,
    begin_series,
    learn,
)
from gwanje.control.microgrid.planner.planning import PlanOptions, plan
from gwanje.control.microgrid.planner.problem import ProblemError
from gwanje.control.microgrid.planner.settings import FILE, REST, parse, read_settings
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.core.site.config import load_site

SITE = Path(__file__).resolve().parents[4] / "configs" / "chungbuk"
MORNING = int(np.datetime64("2026-11-20T00:07", "ns").astype(np.int64))  # 09:07 in Korea, a Friday


COARSE = PlanOptions(gap=3e-3)


def measured(**changes):
    socs = {"jincheon.ess1.soc": 0.5, "eumseong.ess2.soc": 0.6, "jincheon.storage1.soc": 0.3}
    socs |= {"eumseong.chp1.running": 0.0, "jincheon.diesel1.running": 0.0, "eumseong.heat_pump.store_c": 57.0}
    usual = {"recorded_peak_w": 7.5e5, "quarter_import_wh": 3e4, "connected": True}
    return Measured(**({"values": {"grid.tie.import_w": 3e5, **socs}} | usual | changes))


def flat(settings, w=5e4):
    return {name: Forecast(*(np.full(96, w),) * 3) for name in settings.forecasts()}


def test_the_default_site_has_a_plan_by_its_tariff():
    settings = read_settings(SITE)
    problem = assemble(settings, measured(), flat(settings), load_tariff(SITE), MORNING)
    assert problem.n == 96
    assert problem.step_h[0] == pytest.approx(8 / 60)
    assert problem.grid.price_krw_per_kwh.max() > problem.grid.price_krw_per_kwh.min() > 0
    assert problem.grid.demand_krw_per_kw > 1_000
    made = plan(problem, COARSE)
    assert not [one for one in made.softened if one.kind == "load_unserved"]
    for name in settings.outputs():
        assert name in made.series
    dear = problem.grid.price_krw_per_kwh >= np.quantile(problem.grid.price_krw_per_kwh, 0.9)
    assert made.series["jincheon.ess1.discharge_w"][dear].sum() > made.series["jincheon.ess1.discharge_w"][~dear].sum()


def test_an_island_plans_without_the_grid():
    settings = read_settings(SITE)
    problem = assemble(settings, measured(connected=False), flat(settings, 2e4), load_tariff(SITE), MORNING)
    made = plan(problem, COARSE)
    assert made.series["grid.import_w"].max() < 1
    assert "reserve_missing" not in [one.kind for one in made.softened], "an island is what the reserve is for"


def test_a_battery_is_planned_by_the_limits_that_it_tells():
    settings = read_settings(SITE)
    values = measured().values | {"jincheon.ess1.charge_w_max": 1e5, "jincheon.ess1.discharge_w_max": 0.0}
    problem = assemble(settings, measured(values=values), flat(settings), load_tariff(SITE), MORNING)
    assert plan(problem, COARSE).series["jincheon.ess1.discharge_w"].max() < 1


@pytest.mark.parametrize("name", ["jincheon.homes", "eumseong.wind1", "eumseong.store", "jincheon.ev_site"])
def test_a_forecast_that_is_missing_is_named(name):
    settings = read_settings(SITE)
    forecasts = flat(settings) | {name: Forecast(*(np.full(96, np.nan),) * 3)}
    with pytest.raises(ProblemError, match=name):
        assemble(settings, measured(), forecasts, load_tariff(SITE), MORNING)


def test_a_state_of_charge_that_is_missing_is_named():
    settings = read_settings(SITE)
    values = measured().values | {"jincheon.ess1.soc": np.nan}
    with pytest.raises(ProblemError, match=r"jincheon\.ess1\.soc: is nan"):
        assemble(settings, measured(values=values), flat(settings), load_tariff(SITE), MORNING)


def test_the_rest_closes_the_balance():
    settings = read_settings(SITE)
    rest = dict(settings.forecasts()[REST])
    world = {tag: 1e4 * (1 + at) for at, tag in enumerate(rest)}
    consumed = sum(world[tag] for tag, factor in rest.items() if factor < 0)
    given = sum(world[tag] for tag in rest if tag.endswith(("generation_w", "discharge_w")))
    assert sum(world[tag] * factor for tag, factor in rest.items()) == pytest.approx(
        world["grid.tie.import_w"] + given - consumed
    )
    assert {tag.rpartition(".")[0] for tag in rest} == {*settings.planned(), "grid.tie"}


def test_heat_that_is_drawn_is_what_pump_and_machine_put_in():
    terms = dict(read_settings(SITE).forecasts()["eumseong.store"])
    assert terms == {"eumseong.heat_pump.load_w": 3.0, "eumseong.chp1.heat_w": 1.0}


@pytest.mark.parametrize(("store_c", "share"), [(54.0, 0.0), (56.0, 0.5), (80.0, 1.0), (np.nan, 0.5)])
def test_a_store_is_as_full_as_its_temperature_says(store_c, share):
    settings = read_settings(SITE)
    values = measured().values | {"eumseong.heat_pump.store_c": store_c}
    problem = assemble(settings, measured(values=values), flat(settings), load_tariff(SITE), MORNING)
    assert problem.heat_stores[0].energy_wh == pytest.approx(share * settings.heat[0].energy_wh_max)


def test_emergency_power_is_planned_in_an_island_alone():
    settings = read_settings(SITE)
    for connected, most_w in ((True, 0.0), (False, 640e3)):
        problem = assemble(settings, measured(connected=connected), flat(settings), load_tariff(SITE), MORNING)
        diesel = next(one for one in problem.gensets if one.name == "jincheon.diesel1")
        assert diesel.generation_w_max == most_w


def test_a_machine_whose_heat_is_wanted_runs_when_energy_is_dear():
    settings = read_settings(SITE)
    forecasts = flat(settings) | {"eumseong.store": Forecast(*(np.full(96, 3.3e5),) * 3)}
    problem = assemble(settings, measured(), forecasts, load_tariff(SITE), MORNING)
    made = plan(problem, COARSE)
    price, on = problem.grid.price_krw_per_kwh, made.series["eumseong.chp1.on"]
    assert on[price >= price.max()].mean() > 0.9
    assert on[price <= price.min()].mean() < 0.1
    gives = made.series["eumseong.chp1.generation_w"]
    assert ((gives < 1) | (gives > 120e3 - 1)).all()


def test_what_forecasts_may_miss_is_kept_free_of_the_batteries_power():
    settings = read_settings(SITE)
    sure = assemble(settings, measured(), flat(settings), load_tariff(SITE), MORNING).batteries[0]
    assert np.max(sure.discharge_w_max) == np.min(sure.discharge_w_max) == 5e5
    wide = flat(settings) | {"jincheon.factory": Forecast(np.full(96, 4e5), np.full(96, 5e5), np.full(96, 7.2e5))}
    unsure = assemble(settings, measured(), wide, load_tariff(SITE), MORNING).batteries[0]
    assert unsure.discharge_w_max[0] == pytest.approx(5e5 * (1 - 2.2e5 / 1.1e6))
    assert unsure.charge_w_max[0] == pytest.approx(5e5 * (1 - 1e5 / 1.1e6))
    wild = flat(settings) | {"jincheon.factory": Forecast(np.zeros(96), np.full(96, 5e5), np.full(96, 9e6))}
    least = assemble(settings, measured(), wild, load_tariff(SITE), MORNING).batteries[0]
    assert least.discharge_w_max[0] == pytest.approx(5e5 * (1 - KEPT_SHARE_MAX))


def test_the_plan_covers_what_the_site_meters_and_controls():
    settings, known = read_settings(SITE), known_devices(load_site(SITE))
    assert len(known) > 20
    assert uncovered(settings, known) == []
    assert uncovered(settings, known | {"jincheon.mill": "microgrid/ledger.toml"}) == [
        "jincheon.mill stands in microgrid/ledger.toml but in no plan: "
        "plan it, or name it in [[left_out]] with the reason"
    ]
    without = {name: file for name, file in known.items() if name != "eumseong.converter1"}
    assert uncovered(settings, without) == [
        "left_out names eumseong.converter1, which no meter or controller knows"
    ]


def test_steps_end_on_quarter_hours():
    h, middles = steps(MORNING, 4)
    assert h.tolist() == pytest.approx([8 / 60, 0.25, 0.25, 0.25])
    assert ((middles - QUARTER_NS // 2) % QUARTER_NS == 0).all()
    assert steps(QUARTER_NS - 1, 2)[0][0] > 0


class TestSettings:
    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("tier = \"flexible\"", "tier = \"optional\"", "tier"),
            ("rated_w = 800_000", "rated_w = -1", "rated_w"),
            ("name = \"jincheon.ess1\"", "name = \"ess1\"", "is not area.device"),
            ("name = \"eumseong.ess2\"", "name = \"jincheon.ess1\"", "stands twice"),
            ("[planner]", "[planner]\nlate_s = 800", "late_s"),
            ("[planner]", "[planer]", "planer: unknown key"),
            ("least_w = 120_000", "least_w = 500_000", "least_w: is above rated_w"),
            ("heat_to = \"eumseong.store\"", "heat_to = \"eumseong.tank\"", "there is no heat store 'eumseong.tank'"),
            ("low_c = 54", "low_c = 58", "low_c: is not below high_c"),
        ],
    )
    def test_what_is_wrong_is_named(self, old, new, named):
        text = (SITE / FILE).read_text(encoding="utf-8")
        assert old in text
        with pytest.raises(ControlConfigError, match=named):
            parse(tomllib.loads(text.replace(old, new, 1)))


class TestQuarters:
    def test_means_of_what_was_measured(self):
        state, closed = begin_quarters(2), []
        for second in range(1, 1_800):
            values = np.array([second, 5.0 if second < 100 else np.nan])
            state, ended = accumulate(state, values, second * 10**9, 1.0)
            closed += ended
        assert [one[0] for one in closed] == [0]
        assert closed[0][1][0] == pytest.approx(450.0)
        assert np.isnan(closed[0][1][1]), "a tenth of it was measured"

    def test_a_pause_is_missing_and_a_clock_set_back_closes_nothing(self):
        state, _ = accumulate(begin_quarters(1), np.ones(1), 0, 900.0)
        state, closed = accumulate(state, np.ones(1), 4 * QUARTER_NS, 1.0)
        assert [(one[0], bool(np.isnan(one[1][0]))) for one in closed] == [(0, False), (1, True), (2, True), (3, True)]
        state, closed = accumulate(state, np.ones(1), 2 * QUARTER_NS, 1.0)
        assert closed == []
        assert state.quarter == 2
        _, closed = accumulate(state, np.ones(1), 10_000 * QUARTER_NS, 1.0)
        assert len(closed) == 1


class TestOutlook:
    PARAMS = ForecastParams(slots=96, horizon=96)

    @staticmethod
    def calendar(utc_ns):
        quarters = utc_ns // QUARTER_NS
        return quarters % 96, (quarters // 96 % 7 >= 5).astype(np.int8)

    @staticmethod
    def reference(_name, utc_ns):
        return np.ones(len(utc_ns))

    def test_days_are_scored_and_the_outlook_begins_with_now(self):
        one, scores = begin_series(self.PARAMS), []
        day = 1e5 * (1.5 + np.sin(np.arange(96) / 96 * 2 * np.pi))
        for quarter in range(3 * 96 + 5):
            one, score = learn(one, quarter, day[quarter % 96], "x", self.PARAMS, self.calendar, self.reference)
            scores += [score] if score else []
        assert [score.day for score in scores] == [0, 1, 2]
        assert all(score.n >= 95 for score in scores)
        own, persistence = scores[-1].pinball[0], scores[-1].pinball[METHODS.index("persistence")]
        assert own < 0.2 * persistence
        seen = ahead(one, 3 * 96 + 5, 96, 7e4).middle
        assert seen[0] == 7e4
        assert seen[1:] == pytest.approx(np.roll(day, -6)[:95], rel=0.1)

    def test_an_outlook_that_is_old_or_was_never_made_stays_at_now(self):
        one = begin_series(self.PARAMS)
        assert ahead(one, 5, 4, 3.0).middle.tolist() == [3.0] * 4
        one, _ = learn(one, 0, 1.0, "x", self.PARAMS, self.calendar, self.reference)
        assert ahead(one, 50, 96, np.nan).middle.tolist() == [1.0] * 96
        assert np.isnan(ahead(one, 500, 2, np.nan).middle).all()
