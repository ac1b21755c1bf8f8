"""The estimator of the microgrid: what it says of liars, switches, old readings and what nobody reads; virtual time."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from gwanje.control.microgrid.estimation import gross_errors as ge
from gwanje.control.microgrid.estimation.estimator import (
    EstimationInputs,
    EstimationParams,
    EstimationState,
    EstimatorNetwork,
    Meter,
    MeterKind,
    aged_sigma,
    ami,
    positions,
    readings,
    step,
    unobservable,
)
from gwanje.control.microgrid.estimation.gross_errors import GrossError
from gwanje.core.tags.quality import Quality, is_good
from gwanje.ext import state_estimation as se
from gwanje.ext.powerflow import RadialNetwork

GOOD = int(Quality.GOOD)
PARENT = np.array([-1, 0, 1, 1, 2, 2, 3, 3, 5])
"""Source 0; head 1; stations 2 and 3; loads 4 and 5, 6 and 7; 8 hangs behind 5."""
NAMES = ("tie", "head", "west", "east", "homes", "shops", "factory", "pump", "clinic")
N = len(PARENT)
R = np.full(N, 0.01)
LOAD_W = np.array([0, 0, 0, 0, 120e3, 60e3, 250e3, 80e3, 40e3])
BASE_W, BASE_V = 1e6, np.full(N, 22_900.0)


def network(**more):
    return EstimatorNetwork(NAMES, PARENT, R, 2 * R, BASE_W, BASE_V, empty=(0, 1, 2, 3), **more)


def all_meters():
    """Every load read each second, flows twice nested, voltages at ends."""
    found = [Meter("tie.import_w", MeterKind.FLOW_W, 0, sigma_floor=500.0),
             Meter("tie.import_var", MeterKind.FLOW_VAR, 0, sigma_floor=500.0)]  # fmt: skip
    for bus in (1, 2, 3, 4, 5, 6, 7):
        found.append(Meter(f"{NAMES[bus]}.flow_w", MeterKind.FLOW_W, bus, sigma_floor=500.0))
        found.append(Meter(f"{NAMES[bus]}.flow_var", MeterKind.FLOW_VAR, bus, sigma_floor=500.0))
    for bus in range(4, N):
        found.append(Meter(f"{NAMES[bus]}.load_w", MeterKind.LOAD_W, bus, sigma_floor=300.0))
        found.append(Meter(f"{NAMES[bus]}.load_var", MeterKind.LOAD_VAR, bus, sigma_floor=300.0))
    for bus in (0, 2, 3, 5, 6):
        found.append(Meter(f"{NAMES[bus]}.voltage_v", MeterKind.VOLTAGE_V, bus, sigma_share=0.002, sigma_floor=0.0))
    return tuple(found)


class Truth:
    """The network as it is, and what flawless or noisy meters show of it."""

    def __init__(self, meters, seed=1, parts=None):
        self.meters, self.rng = meters, np.random.default_rng(seed)
        self.switches = parts or []
        self.open = set()

    def solve(self, load_w=LOAD_W):
        dead = np.array([self._dead(bus) for bus in range(N)])
        p = np.where(dead, 0.0, load_w) / BASE_W
        q = 0.3 * p
        vr, vi = np.empty(N), np.empty(N)
        kernel = RadialNetwork(PARENT, R, 2 * R, tolerance=1e-12)
        assert kernel.solve(p, q, vr, vi) > 0
        flow, loss = kernel.branch_flows(vr, vi)
        flow[0] = flow[PARENT == 0].sum()
        loss[0] = 0.0
        arriving = flow - loss
        rows = np.array([np.hypot(vr, vi), p, q, flow.real, flow.imag, arriving.real, arriving.imag])
        rows[:, dead] = 0.0
        return rows * np.vstack([BASE_V, np.full((6, N), BASE_W)])

    def _dead(self, bus):
        while bus >= 0:
            if bus in self.open:
                return True
            bus = PARENT[bus]
        return False

    def inputs(self, rows, noise=1.0, **wrong):
        """What the meters show; ``wrong`` maps tags (dots as two underscores) to functions of the value."""
        values = np.empty(len(self.meters))
        for i, meter in enumerate(self.meters):
            exact = meter.sign * rows[list(MeterKind).index(meter.kind), meter.bus]
            error = noise * np.hypot(meter.sigma_share * exact, meter.sigma_floor) * self.rng.standard_normal()
            values[i] = wrong.get(meter.tag.replace(".", "__"), float)(exact + error)
        closed = np.array([bus not in self.open for bus in self.switches], np.uint8)
        return EstimationInputs(values, np.zeros(len(values), np.uint16), np.zeros(len(values)), closed)


METERS = all_meters()
PARAMS = EstimationParams(network(), METERS)


def run(truth, params=PARAMS, n=1, loads=lambda k: LOAD_W, **wrong):
    state, out = EstimationState(), None
    for k in range(n):
        state, out = step(state, truth.inputs(truth.solve(loads(k)), **wrong), params)
    return out


def test_what_is_read_well_is_good_and_near_the_truth():
    truth = Truth(METERS)
    rows = truth.solve()
    out = run(truth)
    assert not out.verdict.suspicious
    assert out.findings == ()
    assert out.unobservable == ()
    inside = np.abs(out.value[:7] - rows) <= 4.0 * out.sigma[:7] + 1.0
    assert inside.all()
    assert (out.quality[:, 4:] == GOOD).all()
    assert out.sigma[se.P, 6] < np.hypot(0.01 * 250e3, 300.0), "better than its own meter: others agree"


def test_a_step_has_no_memory_but_its_history():
    truth = Truth(METERS)
    first, second = truth.inputs(truth.solve()), truth.inputs(truth.solve(0.5 * LOAD_W), homes__load_w=lambda x: 10 * x)
    _, once = step(EstimationState(), first, PARAMS)
    step(EstimationState(), second, PARAMS)
    _, again = step(EstimationState(), first, PARAMS)
    assert np.array_equal(once.value, again.value)
    assert np.array_equal(once.sigma, again.sigma)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"factory__load_w": lambda x: 10.0 * x}, GrossError.TENFOLD),
        ({"factory__load_w": lambda x: 0.001 * x}, GrossError.THOUSANDFOLD),
        ({"homes__flow_w": lambda x: -x}, GrossError.SIGN),
        ({"pump__load_w": lambda x: x + 30e3}, GrossError.OTHER),
        ({"east__flow_var": lambda x: x - 40e3}, GrossError.OTHER),
        ({"west__voltage_v": lambda x: 0.93 * x}, GrossError.OTHER),
    ],
)
def test_a_liar_is_named_with_the_form_of_its_error_and_replaced(wrong, kind):
    truth = Truth(METERS)
    out = run(truth, **wrong)
    tag = next(iter(wrong)).replace("__", ".")
    assert [(one.tags, one.kind, one.doubted) for one in out.findings] == [((tag,), kind, False)]
    ((row, bus),) = out.verdict.removed
    assert out.verdict.settled
    assert abs(out.value[row, bus] - truth.solve()[row, bus]) < 4.0 * out.sigma[row, bus]
    assert out.quality[row, bus] & Quality.SUBSTITUTED
    assert is_good(out.quality[se.P, 7] & ~Quality.SUBSTITUTED) or bus == 7


def test_two_meters_that_were_exchanged_are_told_as_such():
    truth = Truth(METERS)
    rows = truth.solve()
    inputs = truth.inputs(rows)
    tags = [m.tag for m in METERS]
    a, b = tags.index("homes.flow_w"), tags.index("pump.flow_w")
    inputs.values[[a, b]] = inputs.values[[b, a]]
    _, out = step(EstimationState(), inputs, PARAMS)
    assert {(one.tags[0], one.kind) for one in out.findings} == {
        ("homes.flow_w", GrossError.SWAPPED), ("pump.flow_w", GrossError.SWAPPED),
    }  # fmt: skip


def test_a_meter_that_stands_still_and_one_that_is_late():
    truth = Truth(METERS)
    swing = lambda k: LOAD_W * (1.0 + 0.4 * np.sin(k / 6.0))  # noqa: E731
    out = run(truth, n=30, loads=swing, factory__load_w=lambda x: 320e3)
    assert [(one.tags, one.kind) for one in out.findings] == [(("factory.load_w",), GrossError.STUCK)]
    past = []

    def late(value):
        past.append(value)
        return past[max(0, len(past) - 8)]

    out = run(truth, n=41, loads=swing, factory__load_w=late)
    (found,) = out.findings
    assert (found.kind, found.lag_steps) == (GrossError.TIME_SHIFT, 7)


def test_where_one_meter_stands_against_another_neither_is_accused():
    keep = ("tie.import_w", "tie.import_var", "tie.voltage_v", "homes.load_w", "homes.load_var", "shops.load_w",
            "shops.load_var", "factory.load_w", "factory.load_var", "pump.load_w", "pump.load_var", "clinic.load_w",
            "clinic.load_var")  # fmt: skip
    meters = tuple(m for m in METERS if m.tag in keep)
    params, truth = EstimationParams(network(), meters), Truth(meters)
    out = run(truth, params, factory__load_w=lambda x: x + 60e3)
    assert out.verdict.suspicious
    assert out.verdict.removed == ()
    assert {"tie.import_w", "factory.load_w"} <= {one.tags[0] for one in out.findings}
    assert all(one.doubted for one in out.findings)
    assert out.quality[se.P, 6] == Quality.UNCERTAIN
    out = run(truth, params, factory__load_w=lambda x: -x)
    assert [(one.tags, one.kind) for one in out.findings] == [(("factory.load_w",), GrossError.SIGN)], "by its form"


@pytest.mark.parametrize("really_open", [True, False])
def test_a_switch_that_says_what_is_not_so(really_open):
    params = EstimationParams(network(switches=(2, 6, 7)), METERS)
    truth = Truth(METERS, parts=[2, 6, 7])
    if really_open:
        truth.open = {6}
    inputs = truth.inputs(truth.solve())
    said = inputs.closed.copy()
    said[1] ^= 1
    _, out = step(EstimationState(), EstimationInputs(inputs.values, inputs.quality, inputs.age_s, said), params)
    assert out.switches_wrong == ("factory",)
    assert out.verdict.settled
    assert out.findings == ()
    assert (out.value[se.V, 6] == 0.0) is np.bool_(really_open)
    _, honest = step(EstimationState(), inputs, params)
    assert not honest.verdict.suspicious
    assert honest.switches_wrong == ()


def test_what_draws_where_nothing_is_connected():
    truth = Truth(METERS)
    out = run(truth, loads=lambda k: LOAD_W + 50e3 * (np.arange(N) == 3))
    assert out.verdict.suspicious
    assert any("nothing at east" in one.tags for one in out.findings)


def test_an_old_reading_counts_less_and_less():
    meter = ami("homes.load_w", MeterKind.LOAD_W, 4, 100e3)
    fresh, hour = aged_sigma(meter, 100e3, 0.0), aged_sigma(meter, 100e3, 3600.0)
    assert fresh == pytest.approx(0.2 * 100e3, rel=0.01)
    assert 0.5 * 100e3 < hour < 0.6 * 100e3
    ages = [aged_sigma(meter, 100e3, age) for age in range(0, 3600, 60)]
    assert all(a < b for a, b in itertools.pairwise(ages))
    second = Meter("x", MeterKind.LOAD_W, 4, sigma_floor=0.0)
    assert aged_sigma(second, 1e3, 1.0) == aged_sigma(second, 1e3, 0.0) == pytest.approx(10.0)
    assert aged_sigma(second, 1e3, 60.0) > 100.0


def test_quarter_hour_meters_share_what_the_flow_of_one_second_says():
    meters = tuple(m for m in METERS if "load" not in m.tag and m.bus not in (4, 5, 6, 7)) + tuple(
        ami(f"{NAMES[bus]}.load_{unit}", kind, bus, 100e3)
        for bus in range(4, N) for unit, kind in (("w", MeterKind.LOAD_W), ("var", MeterKind.LOAD_VAR))
    )  # fmt: skip
    params, truth = EstimationParams(network(), meters), Truth(meters)
    rows = truth.solve()
    inputs = truth.inputs(rows, noise=0.0)
    slow = np.array([m.period_s > 1.0 for m in meters])
    inputs.values[slow] *= 0.8
    inputs.age_s[slow] = 500.0
    _, out = step(EstimationState(), inputs, params)
    assert not out.verdict.suspicious
    west = [4, 5, 8]
    assert out.value[se.P, west].sum() == pytest.approx(rows[se.P, west].sum(), rel=0.01)
    assert out.quality[se.P, 4] == Quality.UNCERTAIN
    assert out.quality[se.FLOW_P, 2] == Quality.GOOD


def test_what_nobody_reads_is_named():
    meters = tuple(m for m in METERS if "flow" not in m.tag and m.tag.split(".")[0] not in ("shops", "clinic"))
    params = EstimationParams(network(), meters)
    out = run(Truth(meters), params)
    assert out.unobservable == ("shops", "clinic")
    assert out.quality[se.P, 5] == Quality.BAD
    inputs = Truth(meters).inputs(Truth(meters).solve())
    _, sigma, _, _ = readings(inputs, params)
    closed = np.zeros(0, np.uint8)
    assert unobservable(params, sigma, closed) == ("shops", "clinic")
    assert (positions(closed, params.network) == 1).all()


def test_bad_missing_and_uncertain_readings():
    truth = Truth(METERS)
    inputs = truth.inputs(truth.solve())
    tags = [m.tag for m in METERS]
    inputs.values[tags.index("homes.load_w")] = np.nan
    inputs.quality[tags.index("pump.load_w")] = int(Quality.BAD | Quality.COMM)
    inputs.quality[tags.index("shops.load_w")] = int(Quality.UNCERTAIN)
    inputs.age_s[tags.index("clinic.load_w")] = 1e6
    z, sigma, _, _ = readings(inputs, PARAMS)
    assert np.isnan(z[se.P, [4, 7, 8]]).all()
    assert sigma[se.P, 5] == pytest.approx(3.0 * np.hypot(0.01 * z[se.P, 5] * BASE_W, 300.0) / BASE_W)
    _, out = step(EstimationState(), inputs, PARAMS)
    assert not out.verdict.suspicious
    assert abs(out.value[se.P, 4] - 120e3) < 4.0 * out.sigma[se.P, 4]


def test_flawless_readings_are_rarely_suspected_and_large_errors_found():
    truth = Truth(METERS, seed=3)
    rows = truth.solve()
    alarms = sum(step(EstimationState(), truth.inputs(rows), PARAMS)[1].verdict.suspicious for _ in range(300))
    assert alarms <= 8, f"{alarms} of 300, 3 expected"
    found = named = 0
    for k in range(300):
        inputs = truth.inputs(rows)
        meter = METERS[k % len(METERS)]
        inputs.values[k % len(METERS)] += 20.0 * aged_sigma(meter, abs(inputs.values[k % len(METERS)]), 0.0)
        _, out = step(EstimationState(), inputs, PARAMS)
        found += out.verdict.suspicious
        named += any(meter.tag in one.tags for one in out.findings)
    assert found >= 297
    assert named >= 290


def test_sigmas_that_are_given_go_before_age_and_quality():
    truth = Truth(METERS)
    inputs = truth.inputs(truth.solve())
    sigma = np.full(len(METERS), 1e3)
    sigma[3] = np.nan
    given = EstimationInputs(inputs.values, np.full(len(METERS), int(Quality.BAD), np.uint16), inputs.age_s + 1e9,
                             inputs.closed, sigma)  # fmt: skip
    z, found, _, own = readings(given, PARAMS)
    at = (list(MeterKind).index(METERS[3].kind), METERS[3].bus)
    assert np.isnan(z[at])
    assert np.isnan(own[3])
    assert found[se.P, 6] == pytest.approx(1e3 / BASE_W)
    _, out = step(EstimationState(), given, PARAMS)
    assert out.solved


def test_a_share_of_a_tag_is_a_share_of_its_sigma():
    half = (Meter("total.load_w", MeterKind.LOAD_W, 4, sign=-0.5, sigma_share=0.0, sigma_floor=1e3),)
    params = EstimationParams(network(), half)
    inputs = EstimationInputs(np.array([8e4]), np.zeros(1, np.uint16), np.zeros(1), np.zeros(0, np.uint8))
    z, sigma, _, _ = readings(inputs, params)
    assert (z[se.P, 4], sigma[se.P, 4]) == pytest.approx((-4e4 / BASE_W, 500.0 / BASE_W))


def test_readings_without_a_solution_are_solved_without_the_worst():
    truth = Truth(METERS)
    rows = truth.solve(4.0 * LOAD_W)
    inputs = truth.inputs(rows, tie__import_w=lambda value: -4.0 * value)
    z, sigma, _, _ = readings(inputs, PARAMS)
    unsolved = PARAMS.judge.solve(z, sigma, None) < 0
    _, out = step(EstimationState(), inputs, PARAMS)
    assert out.solved
    assert [one.tags for one in out.findings] == [("tie.import_w",)]
    assert out.verdict.ratio > 1.0
    assert not unsolved or out.verdict.ratio == np.inf


def test_of_several_that_explain_as_much_only_those_are_doubted_that_can_be():
    """Two loads behind one flow: what is missing is more than the clinic can draw."""
    keep = ("tie.import_w", "tie.import_var", "tie.voltage_v", "homes.load_w", "homes.load_var", "shops.load_w",
            "shops.load_var", "clinic.load_w", "clinic.load_var", "west.flow_w", "west.flow_var", "factory.load_w",
            "factory.load_var", "pump.load_w", "pump.load_var")  # fmt: skip
    meters = tuple(
        replace(one, low=0.0, high=100e3 if one.tag == "clinic.load_w" else 1e6) if one.tag.endswith("load_w") else one
        for one in METERS if one.tag in keep
    )  # fmt: skip
    doubted = {}
    for bounded in (True, False):
        params = EstimationParams(
            network(), meters if bounded else tuple(one for one in METERS if one.tag in keep), decide_by_form=False
        )
        out = run(Truth(meters), params, homes__load_w=lambda value: value - 110e3)
        doubted[bounded] = {one.tags[0] for one in out.findings}
    assert doubted[False] >= {"homes.load_w", "shops.load_w", "clinic.load_w"}
    assert "clinic.load_w" not in doubted[True]
    assert "homes.load_w" in doubted[True]


def test_what_each_of_the_doubted_would_have_to_be_is_told():
    keep = ("tie.import_w", "tie.import_var", "tie.voltage_v", "homes.load_w", "homes.load_var", "shops.load_w",
            "shops.load_var", "factory.load_w", "factory.load_var", "pump.load_w", "pump.load_var", "clinic.load_w",
            "clinic.load_var")  # fmt: skip
    meters = tuple(one for one in METERS if one.tag in keep)
    out = run(Truth(meters), EstimationParams(network(), meters), factory__load_w=lambda value: value + 60e3)
    found = {one.tags[0]: one for one in out.findings}
    assert found["factory.load_w"].others == pytest.approx(250e3, abs=15e3)
    assert found["homes.load_w"].others == pytest.approx(120e3 - 60e3, abs=15e3)


def test_meters_without_a_bus_are_refused():
    with pytest.raises(ValueError, match="at no bus"):
        EstimationParams(network(), (Meter("x", MeterKind.LOAD_W, 99),))


def test_forms_of_errors():
    assert ge.by_ratio(1000.0, 100.0, 5.0) is GrossError.TENFOLD
    assert ge.by_ratio(10.0, 100.0, 5.0) is GrossError.TENFOLD
    assert ge.by_ratio(-100.0, 100.0, 5.0) is GrossError.SIGN
    assert ge.by_ratio(150.0, 100.0, 5.0) is None
    assert ge.by_ratio(11.0, 1.0, 5.0) is None, "both are nothing, as far as one can tell"
    assert ge.time_shift(np.arange(10.0), np.arange(10.0)) == 0
    line = np.sin(np.arange(40.0))
    assert ge.time_shift(line[:-3], line[3:]) == 3
