"""The energy ledger closes exactly: under random flows, over gaps, restarts and clocks put back, and in both forms."""

import itertools
import json
import math
from dataclasses import fields
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.microgrid.ledger.accounting import LedgerParams, LedgerStateError, Sample, begin, co2_kg, step
from gwanje.control.microgrid.ledger.columns import Columns, entries
from gwanje.control.microgrid.ledger.entry import Channel, balance, summed
from gwanje.control.microgrid.ledger.state import from_plain, to_plain
from gwanje.control.microgrid.tariff.local_time import QUARTER_NS, day_number, local_midnight_utc_ns
from gwanje.control.microgrid.tariff.reader import load_tariff

CHUNGBUK = Path(__file__).parents[4] / "configs" / "chungbuk"
S = 10**9
CHANNELS = (
    Channel("tie", "tie"),
    Channel("pv", "generation"),
    Channel("diesel", "generation", 700_000),
    Channel("homes", "load"),
    Channel("lamps", "load"),
    Channel("ess", "storage"),
    Channel("lines", "loss"),
    Channel("pv_curtailed", "curtailed"),
    Channel("unserved", "unserved"),
)
PARAMS = LedgerParams(CHANNELS)
TIE, PV, DIESEL, HOMES, LAMPS, ESS, LINES, CURTAILED, UNSERVED = range(len(CHANNELS))
T0 = local_midnight_utc_ns(day_number(date(2026, 6, 30)), "Asia/Seoul")


def run(samples, params=PARAMS, state=None):
    state = begin(params) if state is None else state
    closed = []
    for sample in samples:
        state, over = step(state, sample, params)
        closed += over
    return state, closed


def of(closed, span):
    return [one.entry for one in closed if one.span == span]


def flows(**power_w):
    values = [0.0] * len(CHANNELS)
    for name, value in power_w.items():
        values[{"ess": ESS, "tie": TIE, "pv": PV, "homes": HOMES, "lamps": LAMPS, "lines": LINES, "diesel": DIESEL,
                "curtailed": CURTAILED, "unserved": UNSERVED}[name]] = value  # fmt: skip
    return tuple(values)


def test_an_hour_by_hand():
    """1 kW bought and 3 kW of sun carry 2.5 kW of homes, charge 1.4 kW and lose 0.1 kW; the battery keeps 90 %."""
    power = flows(tie=1000.0, pv=3000.0, homes=2500.0, ess=-1400.0, lines=100.0, curtailed=40.0, unserved=10.0)
    samples = [Sample(T0 + k * S, T0 + (k + 1) * S, power, (50.0 + 1400 / 3600 * 0.9 * (k + 1),)) for k in range(3600)]
    state, closed = run(samples)
    quarters = of(closed, "quarter")
    assert [one.end_utc_ns - one.begin_utc_ns for one in quarters] == [QUARTER_NS] * 4
    lines = balance(CHANNELS, summed(quarters))
    assert lines.import_mwh == 1_000_000
    assert lines.generation_mwh == 3_000_000
    assert lines.load_mwh == 2_500_000
    assert (lines.charge_mwh, lines.discharge_mwh, lines.network_loss_mwh) == (1_400_000, 0, 100_000)
    assert (lines.curtailed_mwh, lines.unserved_mwh) == (40_000, 10_000)
    assert lines.storage_change_mwh == 1_259_650  # from the end of the first second on, where it was first known
    assert lines.storage_loss_mwh == 1_400_000 - 1_259_650
    assert lines.unaccounted_mwh == lines.residual_mwh == 0
    assert lines.self_sufficiency == pytest.approx(1 - 1_000_000 / (2_500_000 + 100_000 + 140_350))
    assert lines.self_consumption == 1.0
    assert quarters[0].peak_import_mwh == 250_000
    assert state.utc_ns == T0 + 3600 * S


def test_export_backfeed_and_standby_are_lines_of_their_own():
    power = flows(tie=-900.0, pv=-5.0, homes=-1000.0, ess=0.0, lamps=95.0)
    _, closed = run([Sample(T0, T0 + QUARTER_NS, power, (10.0,))])
    lines = balance(CHANNELS, of(closed, "quarter")[0])
    assert (lines.export_mwh, lines.standby_mwh, lines.backfeed_mwh) == (225_000, 1_250, 250_000)
    assert (lines.import_mwh, lines.generation_mwh) == (0, 0)
    assert lines.unaccounted_mwh == lines.residual_mwh == 0
    assert of(closed, "quarter")[0].peak_import_mwh == 0
    assert math.isnan(lines.self_consumption)


def test_meters_that_disagree_are_told_not_hidden():
    _, closed = run([Sample(T0, T0 + QUARTER_NS, flows(tie=1000.0, homes=960.0), (0.0,))])
    lines = balance(CHANNELS, of(closed, "quarter")[0])
    assert (lines.unaccounted_meters_mwh, lines.unaccounted_gap_mwh, lines.unaccounted_mwh) == (10_000, 0, 10_000)
    assert lines.residual_mwh == 0


def test_one_missing_flow_follows_from_the_others_and_is_marked():
    power = list(flows(tie=1000.0, pv=500.0, homes=1200.0, lamps=300.0))
    power[LAMPS] = math.nan
    _, closed = run([Sample(T0, T0 + QUARTER_NS, tuple(power), (0.0,))])
    (quarter,) = of(closed, "quarter")
    assert quarter.forward_mwh[LAMPS] == quarter.estimated_mwh[LAMPS] == 75_000
    assert quarter.estimated_ns[LAMPS] == QUARTER_NS
    assert sum(quarter.estimated_ns) == QUARTER_NS
    assert balance(CHANNELS, quarter).unaccounted_mwh == 0


def test_several_missing_flows_hold_then_count_as_missing():
    power = flows(tie=1000.0, homes=1000.0)
    blind = list(power)
    blind[TIE] = blind[HOMES] = math.nan
    blind[LAMPS] = 100.0
    _, closed = run([Sample(T0, T0 + 300 * S, power, (0.0,)), Sample(T0 + 300 * S, T0 + QUARTER_NS, tuple(blind))])
    (quarter,) = of(closed, "quarter")
    assert quarter.forward_mwh[TIE] == quarter.forward_mwh[HOMES] == 100_000  # 300 s measured, 60 s held
    assert quarter.estimated_mwh[TIE] == 16_666
    assert quarter.estimated_ns[TIE] == 60 * S
    assert quarter.missing_ns[TIE] == quarter.missing_ns[HOMES] == 540 * S
    lines = balance(CHANNELS, quarter)
    assert lines.unaccounted_gap_mwh == -16_667  # the lamps' energy has no source: floor of -16 666.7
    assert abs(lines.unaccounted_rounding_mwh) <= len(CHANNELS)
    assert lines.residual_mwh == 0


def test_substituted_values_count_as_estimated():
    marks = tuple(k == PV for k in range(len(CHANNELS)))
    _, closed = run([Sample(T0, T0 + QUARTER_NS, flows(pv=400.0, homes=400.0), (0.0,), marks)])
    (quarter,) = of(closed, "quarter")
    assert (quarter.estimated_mwh[PV], quarter.estimated_ns[PV], quarter.missing_ns[PV]) == (100_000, QUARTER_NS, 0)


def test_a_gap_is_counted_marked_and_closes():
    first = Sample(T0, T0 + 60 * S, flows(tie=600.0, homes=500.0, ess=-100.0), (1000.0,))
    later = T0 + 5 * 3600 * S
    second = Sample(later, later + QUARTER_NS, flows(tie=600.0, homes=600.0), (1400.0,))
    state, closed = run([first, second])
    quarters = of(closed, "quarter")
    assert len(quarters) == 21
    assert sum(one.gap_ns for one in quarters) == later - T0 - 60 * S
    assert quarters[1].gap_ns == QUARTER_NS
    assert quarters[1].missing_ns == (QUARTER_NS,) * len(CHANNELS)
    lines = balance(CHANNELS, summed(quarters))
    assert lines.import_mwh == 10_000 + 10_000 + 150_000
    assert lines.storage_change_mwh == 400_000
    assert lines.residual_mwh == 0
    # the battery's own gap: it was charged while nobody looked. It shows as a negative loss of the first full quarter
    assert lines.storage_loss_mwh + lines.unaccounted_storage_mwh == 20_000 // 6 - 400_000
    assert state.overlap_ns == 0


def test_samples_in_the_past_are_not_counted_twice():
    power = flows(tie=1000.0, homes=1000.0)
    samples = [
        Sample(T0, T0 + 600 * S, power, (0.0,)),
        Sample(T0 + 100 * S, T0 + 200 * S, power, (0.0,)),
        Sample(T0 + 500 * S, T0 + 900 * S, power, (0.0,)),
    ]
    state, closed = run(samples)
    assert balance(CHANNELS, of(closed, "quarter")[0]).import_mwh == 250_000
    assert state.overlap_ns == 200 * S


def test_days_months_and_years_end_at_local_midnight():
    begin_ns = local_midnight_utc_ns(day_number(date(2026, 12, 30)), "Asia/Seoul")
    power = flows(tie=4000.0, homes=4000.0)
    samples = [Sample(begin_ns + k * QUARTER_NS, begin_ns + (k + 1) * QUARTER_NS, power, (0.0,)) for k in range(96 * 3)]
    state, closed = run(samples)
    days, (month,), (year,) = of(closed, "day"), of(closed, "month"), of(closed, "year")
    assert [one.forward_mwh[TIE] for one in days] == [96_000_000] * 3
    assert month.end_utc_ns == year.end_utc_ns == local_midnight_utc_ns(day_number(date(2027, 1, 1)), "Asia/Seoul")
    assert year.forward_mwh[TIE] == 2 * 96_000_000
    assert (state.day, state.year is not None) == (None, True)
    assert dict(state.peaks_mwh) == {683: 1_000_000, 684: 1_000_000}


def test_cost_and_carbon_follow_the_tariff():
    params = LedgerParams(CHANNELS, tariff=load_tariff(CHUNGBUK))
    noon = T0 + 12 * 3600 * S  # Tuesday 30 June 2026: mid
    power = flows(tie=4000.0, pv=3000.0, diesel=1000.0, homes=8000.0)
    _, closed = run([Sample(noon, noon + QUARTER_NS, power, (0.0,))], params)
    (quarter,) = of(closed, "quarter")
    assert quarter.import_cost == 1_000_000 * 16_380
    assert co2_kg(quarter.import_co2) == pytest.approx(0.4173)
    assert co2_kg(quarter.avoided_co2) == pytest.approx(1.0 * 0.4173 - 0.25 * 0.7)


def test_energy_without_a_price_is_told_not_free():
    params = LedgerParams(CHANNELS, tariff=load_tariff(CHUNGBUK))
    early = local_midnight_utc_ns(day_number(date(2024, 10, 23)), "Asia/Seoul") + 95 * QUARTER_NS
    _, closed = run([Sample(early, early + 2 * QUARTER_NS, flows(tie=4000.0, homes=4000.0), (0.0,))], params)
    before, after = of(closed, "quarter")
    assert (before.unpriced_mwh, before.import_cost) == (1_000_000, 0)
    assert (after.unpriced_mwh, after.import_cost) == (0, 1_000_000 * 11_600)


MILD = st.floats(-1e6, 1e6)
ROUGH = st.one_of(MILD, st.sampled_from([math.nan, math.inf, 1e300, -0.0, 1e-9]))
SPANS = st.integers(1, 40 * 60).map(lambda second: second * S + second)


@st.composite
def histories(draw, values=ROUGH):
    at, samples = T0 + draw(st.integers(0, 900)) * S, []
    for _ in range(draw(st.integers(1, 12))):
        at += draw(st.sampled_from([0, 0, 0, 1, 7 * S, -3 * S, 4000 * S]))
        end = at + draw(SPANS)
        power = tuple(draw(values) for _ in CHANNELS)
        stored = (draw(st.one_of(st.floats(0, 1e6), st.just(math.nan))),)
        samples.append(Sample(at, end, power, stored if draw(st.booleans()) else ()))
        at = end
    return samples


def check_books(closed, params=PARAMS):
    for one in closed:
        lines = balance(params.channels, one.entry)
        assert lines.residual_mwh == 0
        quarters = max(1, (one.entry.end_utc_ns - one.entry.begin_utc_ns) // QUARTER_NS + 1)
        assert abs(lines.unaccounted_rounding_mwh) <= 2 * (len(params.channels) + 2) * quarters
        assert all(value >= 0 for value in (*one.entry.forward_mwh, *one.entry.reverse_mwh))
        for estimated, forward, reverse in zip(
            one.entry.estimated_mwh, one.entry.forward_mwh, one.entry.reverse_mwh, strict=True
        ):
            assert estimated <= forward + reverse + quarters + 1
        length = one.entry.end_utc_ns - one.entry.begin_utc_ns
        assert all(0 <= a + b <= length for a, b in zip(one.entry.estimated_ns, one.entry.missing_ns, strict=True))


@given(histories())
@settings(max_examples=80, deadline=None)
def test_closes_under_random_flows_gaps_and_nonsense(samples):
    _, closed = run(samples)
    check_books(closed)
    quarters = of(closed, "quarter")
    for before, after in itertools.pairwise(quarters):
        assert before.end_utc_ns == after.begin_utc_ns
    days = of(closed, "day")
    if days:
        inside = [one for one in quarters if one.end_utc_ns <= days[-1].end_utc_ns]
        assert summed(days) == summed(inside)


@given(histories(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_restart_changes_nothing(samples, data):
    cut = data.draw(st.integers(0, len(samples)))
    whole, closed = run(samples)
    state, first = run(samples[:cut])
    state = from_plain(json.loads(json.dumps(to_plain(state, PARAMS))), PARAMS)
    state, second = run(samples[cut:], state=state)
    assert state == whole
    assert first + second == closed


@given(histories(MILD), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_cutting_samples_finer_moves_no_energy(samples, parts):
    fine = []
    for one in samples:
        edges = np.linspace(one.begin_utc_ns, one.end_utc_ns, parts + 1).astype(np.int64).tolist()
        edges[0], edges[-1] = one.begin_utc_ns, one.end_utc_ns
        pieces = [Sample(a, b, one.power_w) for a, b in itertools.pairwise(edges)]
        fine += [*pieces[:-1], Sample(edges[-2], edges[-1], one.power_w, one.stored_wh)]
    _, coarse_closed = run(samples)
    _, fine_closed = run(fine)
    for a, b in zip(coarse_closed, fine_closed, strict=True):
        assert (a.span, a.entry.forward_mwh, a.entry.reverse_mwh) == (b.span, b.entry.forward_mwh, b.entry.reverse_mwh)
        assert a.entry.open_gap_mwh == b.entry.open_gap_mwh


@given(st.integers(0, 2**32), st.integers(1, 200))
@settings(max_examples=15, deadline=None)
def test_columns_and_steps_give_the_same_books(seed, n):
    params = LedgerParams(CHANNELS, tariff=TARIFF)
    rng = np.random.default_rng(seed)
    begins = T0 + np.arange(n) * QUARTER_NS
    energy = rng.integers(-10**9, 10**9, (n, len(CHANNELS)))
    stored = rng.integers(0, 10**9, (n + 1, 1))
    at_bus = energy @ np.array([1, 1, 1, -1, -1, 1, -1, 0, 0])
    energy[:, TIE] -= at_bus
    columns = Columns(begins, energy, stored)
    start = Sample(T0 - S, T0, (0.0,) * len(CHANNELS), (stored[0, 0] / 1000,))
    samples = [
        Sample(int(at), int(at) + QUARTER_NS, tuple((row * 4 / 1000).tolist()), (kept[0] / 1000,))
        for at, row, kept in zip(begins, energy, stored[1:], strict=True)
    ]
    state, _ = step(begin(params), start, params)
    _, closed = run(samples, params, state)
    quarters = [one for one in of(closed, "quarter") if one.begin_utc_ns >= T0]
    (whole,) = entries(columns, params, "all")
    assert summed(quarters) == whole
    days = entries(columns, params, "day")
    assert [one.forward_mwh for one in days[: n // 96]] == [
        summed(quarters[k * 96 : k * 96 + 96]).forward_mwh for k in range(n // 96)
    ]
    lines = balance(CHANNELS, whole)
    assert lines.unaccounted_mwh == lines.residual_mwh == 0


TARIFF = load_tariff(CHUNGBUK)


def test_columns_tell_meters_that_disagree():
    params = LedgerParams((Channel("tie", "tie"), Channel("city", "load")))
    (whole,) = entries(Columns(np.array([T0]), np.array([[5, 3]]), np.zeros((2, 0), np.int64)), params, "all")
    lines = balance(params.channels, whole)
    assert (lines.unaccounted_meters_mwh, lines.unaccounted_mwh, lines.residual_mwh) == (2, 2, 0)


def test_large_sums_do_not_overflow():
    """A city of 2.5 GW for 400 days: products of energy and carbon leave 64 bits."""
    params = LedgerParams((Channel("tie", "tie"), Channel("city", "load")), tariff=TARIFF)
    n = 400 * 96
    flow = np.full((n, 2), 625_000_000_000, np.int64)
    (whole,) = entries(Columns(T0 + np.arange(n) * QUARTER_NS, flow, np.zeros((n + 1, 0), np.int64)), params, "all")
    assert whole.import_co2 == n * 625_000_000_000 * 417_300
    assert whole.import_co2 > 2**63


@pytest.mark.parametrize("spoil", ["version", "channel", "field", "number", "length"])
def test_a_damaged_state_is_refused(spoil):
    state, _ = run([Sample(T0, T0 + 2 * QUARTER_NS, flows(tie=1.0, homes=1.0), (1.0,))])
    plain = json.loads(json.dumps(to_plain(state, PARAMS)))
    if spoil == "version":
        plain["version"] = 0
    elif spoil == "channel":
        plain["channels"][0][0] = "other"
    elif spoil == "field":
        del plain["state"]["utc_ns"]
    elif spoil == "number":
        plain["state"]["sums"]["forward"][0] = 0.5
    else:
        plain["state"]["day"]["forward_mwh"].append(1)
    with pytest.raises(LedgerStateError):
        from_plain(plain, PARAMS)


def test_state_names_every_field():
    plain = to_plain(begin(PARAMS), PARAMS)["state"]
    assert list(plain) == [one.name for one in fields(begin(PARAMS))]
