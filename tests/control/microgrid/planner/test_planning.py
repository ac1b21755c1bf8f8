"""Plans: against a programme written down a second time, at their limits, and where problems cannot be planned with."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from gwanje.control.microgrid.planner import planning
from gwanje.control.microgrid.planner.assets import (
    Battery,
    EvPool,
    Genset,
    Grid,
    HeatPump,
    HeatStore,
    Load,
    Renewable,
)
from gwanje.control.microgrid.planner.planning import Planner, PlanOptions, plan
from gwanje.control.microgrid.planner.problem import Problem, ProblemError
from gwanje.control.microgrid.planner.solve import Highs, Piqp

N = 24
HOURS = np.ones(N)


def site(rng, n=N, h=1.0, **changes):
    """A grid with a demand charge, load, PV and a battery."""
    day = np.arange(n) * h % 24
    made = {
        "step_h": np.full(n, h),
        "grid": Grid(
            import_w_max=2e6, export_w_max=5e5, price_krw_per_kwh=np.where((day >= 18) & (day < 21), 200.0, 90.0),
            export_price_krw_per_kwh=60.0, demand_krw_per_kw=8_000.0, recorded_peak_w=3e5, demand_window_h=h,
        ),
        "loads": (Load("homes", 3e5 + 1e5 * rng.random(n)),),
        "renewables": (Renewable("pv", 6e5 * np.maximum(0.0, np.sin((day - 6) / 12 * np.pi)) * rng.random(n)),),
        "batteries": (Battery("ess", 1e6, 5e5, 5e5, 0.5, end_value_krw_per_kwh=90.0),),
    }  # fmt: skip
    return Problem(**(made | changes))


def test_docstring():
    assert doctest.testmod(planning).failed == 0


def by_hand(problem):
    """The same programme, dense and naive: import, export, peak, unserved, PV, charge, discharge, energy, surplus."""
    n, h = problem.n, problem.step_h
    grid, load, pv, ess = problem.grid, problem.loads[0], problem.renewables[0], problem.batteries[0]
    columns = ["import", "export", "unserved", "pv", "charge", "discharge", "energy", "surplus"]
    at = {name: k * n for k, name in enumerate(columns)}
    n_x = len(columns) * n + 1
    cost, bounds = np.zeros(n_x), [(0.0, None)] * n_x
    equal, right, at_most, most = [], [], [], []
    for t in range(n):
        cost[at["import"] + t] = h[t] * grid.price_krw_per_kwh[t]
        cost[at["export"] + t] = -h[t] * grid.export_price_krw_per_kwh
        cost[at["unserved"] + t] = h[t] * load.unserved_krw_per_kwh
        cost[at["pv"] + t] = -h[t] * pv.curtailment_krw_per_kwh
        cost[at["charge"] + t] = h[t] * ess.charge_krw_per_kwh
        cost[at["discharge"] + t] = h[t] * ess.discharge_krw_per_kwh
        cost[at["surplus"] + t] = h[t] * problem.overgeneration_krw_per_kwh
        bounds[at["import"] + t] = (0, grid.import_w_max / 1e3)
        bounds[at["export"] + t] = (0, grid.export_w_max / 1e3)
        bounds[at["unserved"] + t] = (0, load.load_w[t] / 1e3)
        bounds[at["pv"] + t] = (0, pv.available_w[t] / 1e3)
        bounds[at["charge"] + t] = (0, ess.charge_w_max / 1e3)
        bounds[at["discharge"] + t] = (0, ess.discharge_w_max / 1e3)
        bounds[at["energy"] + t] = (ess.soc_min * ess.energy_wh / 1e3, ess.soc_max * ess.energy_wh / 1e3)
        row = np.zeros(n_x)
        for name, sign in (("import", 1), ("export", -1), ("unserved", 1), ("pv", 1), ("charge", -1),
                           ("discharge", 1), ("surplus", -1)):  # fmt: skip
            row[at[name] + t] = sign
        equal.append(row)
        right.append(load.load_w[t] / 1e3)
        row = np.zeros(n_x)
        row[at["energy"] + t] = 1
        if t:
            row[at["energy"] + t - 1] = -1
        row[at["charge"] + t] = -h[t] * ess.charge_efficiency
        row[at["discharge"] + t] = h[t] / ess.discharge_efficiency
        equal.append(row)
        right.append(0.0 if t else ess.soc * ess.energy_wh / 1e3)
        row = np.zeros(n_x)
        row[at["import"] + t], row[-1] = 1, -1
        at_most.append(row)
        most.append(0.0)
    cost[at["energy"] + n - 1] = -ess.end_value_krw_per_kwh
    cost[-1] = grid.demand_krw_per_kw
    bounds[-1] = (grid.recorded_peak_w / 1e3, None)
    found = linprog(cost, np.array(at_most), most, np.array(equal), right, bounds)
    assert found.status == 0
    left = float(h @ pv.available_w) / 1e3 * pv.curtailment_krw_per_kwh
    return found.fun + left - grid.demand_krw_per_kw * grid.recorded_peak_w / 1e3


@pytest.mark.parametrize("seed", range(4))
def test_costs_what_the_programme_written_by_hand_costs(seed):
    problem = site(np.random.default_rng(seed))
    made = plan(problem)
    assert made.objective_krw == pytest.approx(by_hand(problem), rel=1e-7)
    assert not made.softened
    assert not made.integer


@pytest.mark.parametrize("seed", range(3))
def test_piqp_agrees(seed):
    pytest.importorskip("piqp")
    planner, reference = Planner(Piqp(Highs())), Planner()
    rng = np.random.default_rng(seed)
    for _ in range(4):  # updated in place from problem to problem
        problem = site(rng, n=48, h=0.5)
        assert planner.plan(problem).objective_krw == pytest.approx(
            reference.plan(problem).objective_krw, rel=1e-6, abs=0.1
        )


def balance(problem, made):
    """Generation less consumption in each step, W."""
    s = made.series
    total = -s["surplus_w"]
    if problem.grid is not None:
        total = total + s["grid.import_w"] - s["grid.export_w"]
    for one in problem.batteries:
        total = total + s[f"{one.name}.discharge_w"]
    for one in (*problem.renewables, *problem.gensets):
        total = total + s[f"{one.name}.generation_w"]
    for one in (*problem.loads, *problem.ev_pools, *problem.heat_pumps):
        total = total - s[f"{one.name}.load_w"]
    return total


def city(rng, n=96):
    """All kinds of assets at once."""
    h = np.full(n, 0.25)
    day = np.arange(n) * 0.25
    sun = np.maximum(0.0, np.sin((day - 6) / 12 * np.pi)) * rng.uniform(0.5, 1.0, n)
    taken = np.cumsum(np.where((day > 9) & (day < 18), 4e3, 0.0))
    return Problem(
        step_h=h,
        grid=Grid(
            2.25e6, 1.5e6, np.where((day >= 18) & (day < 21), 195.0, np.where(day < 8, 105.0, 130.0)), 70.0,
            carbon_kg_per_kwh=0.45, demand_krw_per_kw=8_320.0, recorded_peak_w=4e5, ramp_w_max=2e5, import_before_w=3e5,
        ),
        loads=(
            Load("homes", 2e5 + 1e5 * rng.random(n), tier="critical"),
            Load("factory", 5e5, 2_000.0, floor_share=0.7, tier="interruptible"),
            Load("lamps", np.where((day < 6) | (day > 19), 3e5, 0.0), 400.0, floor_share=0.3, tier="flexible"),
        ),
        renewables=(Renewable("pv1", 8e5 * sun), Renewable("pv2", 7e5 * sun), Renewable("wind", 1e5 * rng.random(n))),
        batteries=tuple(
            Battery(name, 1e6, 5e5, 5e5, 0.6, reserve_krw_per_kwh_h=20.0, end_value_krw_per_kwh=110.0)
            for name in ("ess1", "ess2")
        ),
        gensets=(
            Genset("chp", 4e5, 1.2e5, 170.0, 2_000.0, 5_000.0, carbon_kg_per_kwh=0.4, heat_to="store",
                   heat_per_power=1.2),
        ),
        ev_pools=(EvPool("ev", 3e5, np.maximum(taken - 6e4, 0.0), taken + 2e4),),
        heat_stores=(HeatStore("store", 5e5, 2e6, 1.5e5, kept_per_h=0.999, end_value_krw_per_kwh=30.0),),
        heat_pumps=(HeatPump("pump", 1.8e5, 3.0 + 0.5 * rng.random(n), "store"),),
        carbon_krw_per_kg=20.0,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_city_keeps_every_limit(seed):
    problem = city(np.random.default_rng(seed))
    made = Planner(options=PlanOptions(gap=1e-3)).plan(problem)
    s = made.series
    assert np.abs(balance(problem, made)).max() < 1.0
    for one in problem.batteries:
        assert np.abs(s[f"{one.name}.discharge_w"]).max() <= 5e5 + 1
        energy = s[f"{one.name}.energy_wh"]
        assert energy.min() >= one.soc_min * one.energy_wh - 1
        assert energy.max() <= one.soc_max * one.energy_wh + 1
    taken = np.cumsum(s["ev.load_w"] * problem.step_h * 0.93)
    pool = problem.ev_pools[0]
    assert (taken + np.cumsum(s["ev.unserved_wh"]) >= pool.energy_wh_min - 1).all()
    assert (taken <= pool.energy_wh_max + 1).all()
    running = s["chp.on"] > 0.5
    assert (s["chp.generation_w"][running] >= 1.2e5 - 1).all()
    assert (s["chp.generation_w"][~running] < 1).all()
    net = s["grid.import_w"] - s["grid.export_w"]
    assert np.abs(np.diff(net)).max() <= 2e5 + s["grid.ramp_broken_w"].max() + 1
    assert abs(net[0] - 3e5) <= 2e5 + s["grid.ramp_broken_w"][0] + 1
    assert s["grid.peak_w"][0] >= s["grid.import_w"].max() - 1
    assert np.minimum(s["grid.import_w"], s["grid.export_w"]).max() < 2


def test_numbers_change_and_the_pattern_stays():
    """Programmes are laid out once for each shape; what a planner gave before does not move what it gives now."""
    planner, rng = Planner(), np.random.default_rng(9)
    first = planner.program(site(rng))
    problems = [site(rng) for _ in range(3)]
    problems.append(replace(problems[0], batteries=(replace(problems[0].batteries[0], soc=0.9, charge_w_max=1e5),)))
    for problem in problems:
        assert planner.program(problem) is first
        assert planner.plan(problem).objective_krw == pytest.approx(plan(problem).objective_krw, rel=1e-9)
    assert planner.program(site(rng, n=12)) is not first


def test_a_started_quarter_hour_counts_with_what_was_imported_in_it():
    """Five minutes are left of a window in which 60 kWh came already: its mean is what the epigraph sees."""
    grid = Grid(
        1e6, 0.0, 100.0, demand_krw_per_kw=8_000.0, recorded_peak_w=1e5, window_import_wh=60e3, demand_window_h=0.25
    )
    problem = Problem(
        np.array([5 / 60, 0.25]), grid, (Load("homes", 1.2e5),), batteries=(Battery("ess", 1e6, 5e5, 5e5, 0.5),)
    )
    made = plan(problem)
    assert made.series["grid.peak_w"][0] == pytest.approx(240e3, rel=1e-6)  # 60 kWh in a quarter hour, nothing more
    assert made.first("grid.import_w") == pytest.approx(0.0, abs=1.0)


def test_steps_that_are_not_recorded_raise_no_peak():
    grid = Grid(1e6, 0.0, 100.0, demand_krw_per_kw=8_000.0, demand_window_h=1.0, demand_counts=np.array([0.0, 1.0]))
    made = plan(Problem(np.ones(2), grid, (Load("homes", np.array([5e5, 1e5])),)))
    assert made.series["grid.peak_w"][0] == pytest.approx(1e5)


class TestOnAndOff:
    @staticmethod
    def machine(rng, **changes):
        usual = {"generation_w_min": 1.2e5, "generation_krw_per_kwh": 110.0, "start_krw": 4_000.0}
        return site(rng, gensets=(Genset("chp", 4e5, **(usual | changes)),))

    @pytest.mark.parametrize("seed", range(6))
    def test_tried_patterns_cost_what_the_gap_allows_at_most(self, seed):
        problem = self.machine(np.random.default_rng(seed))
        best = Planner(Highs(), PlanOptions(gap=1e-7)).plan(problem)
        for solver in (Highs(), Piqp(Highs())):
            made = Planner(solver, PlanOptions(gap=1e-2)).plan(problem)
            most = best.objective_krw + 1.01e-2 * abs(best.objective_krw)
            assert best.objective_krw - 1 <= made.objective_krw <= most
            gives, on = made.series["chp.generation_w"], made.series["chp.on"]
            assert (gives >= 1.2e5 * on - 1).all()
            assert (gives <= 4e5 * on + 1).all()

    def test_a_pattern_leaves_the_programme_as_it_was(self):
        problem = self.machine(np.random.default_rng(1))
        planner = Planner(Highs(), PlanOptions(gap=5e-3))
        first = planner.plan(problem)
        bounds = planner.program(problem).vectors
        assert bounds.upper[planner.program(problem).commitments()[0][1]].all()
        assert planner.plan(problem).objective_krw == pytest.approx(first.objective_krw)

    def test_short_pauses_and_short_runs_are_bridged(self):
        on = np.array([0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1.0])
        bridged = planning._bridged(on)
        assert bridged.tolist() == [0, 0] + [1] * 12 + [0] * 12 + [1]
        assert planning._bridged(np.zeros(5)).tolist() == [0] * 5

    def test_an_envelope_narrower_than_rounding_is_none(self):
        """Presolve with binaries calls the programme empty otherwise."""
        took = np.cumsum(np.full(N, 2e3))
        problem = self.machine(np.random.default_rng(2))
        problem = replace(problem, ev_pools=(EvPool("cars", 7.6e4, took, took + 2e-6),))
        made = Planner(Highs(), PlanOptions(gap=1e-6)).plan(problem)
        assert made.series["cars.load_w"].sum() * 0.93 == pytest.approx(took[-1], rel=1e-3)


class TestBadDays:
    def test_a_demand_that_cannot_be_met_has_a_plan_and_names_what_is_missing(self):
        grid = Grid(1e5, 0.0, 100.0)
        loads = (Load("clinic", 6e4, 10_000.0), Load("shops", 9e4, 3_000.0, tier="priority"))
        made = plan(Problem(HOURS, grid, loads))
        assert [(one.kind, one.subject) for one in made.softened] == [("load_unserved", "shops")]
        assert made.softened[0].amount == pytest.approx(24 * 5e4)
        assert "shops" in made.softened[0].ko
        assert made.series["clinic.unserved_w"].max() < 1

    @pytest.mark.parametrize("soc", [0.0, 0.02, 1.0])
    def test_empty_and_full_batteries_come_back_inside(self, soc):
        problem = site(np.random.default_rng(3), batteries=(Battery("ess", 1e6, 5e5, 5e5, soc),))
        made = plan(problem)
        assert [one.kind for one in made.softened] == ["soc_outside"]
        energy = made.series["ess.energy_wh"]
        assert energy.min() >= soc * 1e6 - 1 if soc < 0.5 else energy.max() <= soc * 1e6 + 1

    def test_negative_prices_do_not_burn_energy_in_a_battery(self):
        """Taking pays: a linear programme would charge and discharge at once."""
        grid = Grid(1e6, 0.0, np.array([-100.0, -100.0, 120.0, 120.0]))
        problem = Problem(np.ones(4), grid, (Load("homes", 2e5),), batteries=(Battery("ess", 2e5, 5e5, 5e5, 0.9),))
        relaxed = Planner().program(problem)
        x = Highs().solve(relaxed, 1.0).x
        ess = relaxed.exclusions(problem)[1]
        assert np.minimum(x[ess.one], x[ess.other]).max() > 1, "the relaxed one burns"
        made = plan(problem)
        assert made.integer
        s = made.series
        burnt = np.diff(s["ess.energy_wh"], prepend=0.9 * 2e5)
        assert np.allclose(
            burnt, np.where(s["ess.discharge_w"] > 0, -s["ess.discharge_w"] / 0.95, -s["ess.discharge_w"] * 0.95),
            atol=1.0,
        )  # fmt: skip

    def test_dearer_export_than_import_is_no_circle(self):
        grid = Grid(1e6, 1e6, 100.0, 150.0)
        problem = Problem(np.ones(4), grid, (Load("homes", 2e5),), renewables=(Renewable("pv", 3e5),))
        made = plan(problem)
        assert np.minimum(made.series["grid.import_w"], made.series["grid.export_w"]).max() < 1
        assert made.series["grid.export_w"] == pytest.approx(np.full(4, 1e5), abs=1.0)

    def test_an_outage_uses_what_was_kept_for_it(self):
        there = np.ones(N)
        there[12:15] = 0
        ess = Battery("ess", 1e6, 5e5, 5e5, 0.4, reserve_krw_per_kwh_h=50.0)
        problem = Problem(HOURS, Grid(1e6, 0.0, 100.0, available=there), (Load("clinic", 2e5),), batteries=(ess,))
        made = plan(problem)
        assert made.series["clinic.unserved_w"].max() < 1
        assert made.series["grid.import_w"][12:15].max() < 1

    def test_the_reserve_gives_way_before_load_does(self):
        ess = Battery("ess", 1e6, 5e5, 5e5, 0.45, reserve_krw_per_kwh_h=50.0)
        problem = Problem(HOURS, Grid(1e5, 0.0, 100.0), (Load("homes", 1.1e5, 5_000.0),), batteries=(ess,))
        made = plan(problem)
        kinds = [one.kind for one in made.softened]
        assert kinds == ["reserve_missing"]
        assert made.series["homes.unserved_w"].max() < 1

    def test_a_genset_at_its_minimum_with_nowhere_to_go_is_told(self):
        diesel = Genset("diesel", 6e4, 5e4, 400.0)
        made = plan(Problem(np.ones(3), None, (Load("clinic", 1e4),), gensets=(diesel,)))
        assert [one.kind for one in made.softened] == ["surplus"]
        assert made.series["diesel.on"].tolist() == [1, 1, 1]

    def test_vehicles_that_leave_too_early_are_told(self):
        pool = EvPool("ev", 1e4, np.array([3e4, 3e4]), np.array([5e4, 5e4]))
        made = plan(Problem(np.ones(2), Grid(1e6, 0.0, 100.0), ev_pools=(pool,)))
        assert made.softened[0].kind == "vehicles_unserved"
        assert made.softened[0].amount == pytest.approx(3e4 - 9.3e3, rel=1e-3)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"loads": (Load("homes", np.full(N, np.nan)),)}, "homes.load_w: is nan at step 0"),
            ({"renewables": (Renewable("pv", -1.0),)}, "pv.available_w: is -1"),
            ({"loads": (Load("homes", np.ones(3)),)}, "homes.load_w: has shape"),
            ({"batteries": (Battery("ess", 1e6, 5e5, 5e5, np.nan),)}, "ess.soc: is nan"),
            ({"batteries": (Battery("ess", 1e6, 5e5, 5e5, 0.5, soc_min=0.9, soc_max=0.2),)}, "ess.soc_min"),
            ({"heat_pumps": (HeatPump("pump", 1e5, 3.0, "tank"),)}, "pump.store: there is no heat store 'tank'"),
            ({"loads": (Load("pv", 1.0),)}, "pv.name: occurs twice"),
            ({"grid": Grid(1e6, 0.0, np.inf)}, "grid.price_krw_per_kwh: is inf"),
            ({"step_h": np.zeros(N)}, "problem.step_h"),
        ],
    )
    def test_what_cannot_be_planned_with_is_named(self, change, named):
        with pytest.raises(ProblemError, match=named.replace("(", r"\(")):
            site(np.random.default_rng(1), **change)
