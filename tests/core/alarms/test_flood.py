"""Flood mode, presented rows and key figures as pure steps on a made-up clock."""

import random
from dataclasses import replace
from typing import Any

import pytest
from alarms.made import TEXTS, TOPOLOGY, S
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.alarms.flood import FLOOD_ENDS, FLOOD_FROM, OTHERS, ROWS_MAX, FloodMeter, present, sound_key
from gwanje.core.alarms.kpis import BIN_IDS_MAX, CHATTER_SHOWN_NS, WATCHED_MAX, Kpis, stale
from gwanje.core.alarms.records import AlarmState, Change, Counts, Facts, Record, message
from gwanje.core.alarms.states import Happening, Hidden, Phase, Standing

NODES = ("ess1", "pv1", "lamp1", "ess2", "cb", "kepco", "centre", "")


def record(
    name: str, priority: int = 2, node: str = "ess1", phase: Phase = Phase.UNACK_ACTIVE, onset_s: float = 1.0,
    hidden: Hidden = Hidden.NO, sequence: int = 0,
) -> Record:  # fmt: skip
    facts = Facts(name, name, name, name, priority, TEXTS, node=node, group=TOPOLOGY.group_of(node))
    onset = round(onset_s * S)
    state = AlarmState(Standing(phase, hidden), raised_mono_ns=onset, onset_mono_ns=onset, sequence=sequence)
    made = Record(facts, state)
    made.settle()
    return made


# ---------------------------------------------------------------- the meter


def test_a_flood_begins_above_ten_in_ten_minutes_and_ends_below_five() -> None:
    meter = FloodMeter()
    for index in range(FLOOD_FROM):
        meter.raised(index * 20 * S)
    assert not meter.flood
    meter.raised(200 * S)
    assert meter.flood
    assert meter.began_mono_ns == 200 * S
    meter.step(600 * S + 5 * 20 * S)
    assert meter.flood, f"{meter.count} are not below {FLOOD_ENDS}"
    meter.step(600 * S + 9 * 20 * S)
    assert meter.count < FLOOD_ENDS
    assert not meter.flood


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6)), max_size=60))
def test_the_meter_counts_what_a_list_counts(happenings: list[tuple[int, int]]) -> None:
    meter, times, now = FloodMeter(), [], 0
    for after_s, n in happenings:
        now += after_s * S
        meter.step(now)
        if n:
            meter.raised(now, n)
        times += [now] * n
        newest = now // (10 * S)
        assert meter.count == sum(newest - one // (10 * S) < 60 for one in times)


def test_a_meter_goes_on_after_a_restart() -> None:
    meter = FloodMeter()
    for index in range(30):
        meter.raised(1_000 * S + index * 10 * S)
    saved = meter.save(1_300 * S)
    again = FloodMeter()
    again.restore(saved, 60 * S, 5 * S)
    assert again.flood
    meter.step(1_360 * S)
    assert again.count == meter.count
    for bad in ({}, {"bins": [1], "flood": True, "began_ago_ns": 0}, {**saved, "bins": [-1] * 60}):
        with pytest.raises((KeyError, ValueError)):
            FloodMeter().restore(bad, 0, 1)


# ---------------------------------------------------------------- rows


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(0, 40), st.booleans())
def test_rows_hold_every_alarm_once_and_name_every_urgent_one(seed: int, n: int, n_urgent: int, flood: bool) -> None:
    chance = random.Random(seed)
    made = [
        record(f"a{index}", 1 if index < n_urgent else chance.choice((2, 3, 4)), chance.choice(NODES),
               chance.choice([one for one in Phase if one is not Phase.NORMAL]), chance.random(),
               Hidden.SHELVED if chance.random() < 0.1 else Hidden.NO, index)
        for index in range(n + n_urgent)
    ]  # fmt: skip
    shown = present(made, TOPOLOGY, flood, chance.choice(([], ["cb"])))
    assert len(shown.rows) <= ROWS_MAX
    there = [one.facts.alarm_id for row in shown.rows for one in row.alarms]
    wanted = [one.facts.alarm_id for one in made if one.presented]
    assert sorted(there) == sorted(wanted), "nothing is lost and nothing is told twice"
    assert shown.n_presented == len(wanted)
    assert shown.n_folded == sum(len(row.alarms) for row in shown.rows if row.group)
    urgent = [row for row in shown.rows if row.priority == 1]
    assert all(one.facts.priority == 1 for row in urgent for one in row.alarms), "never mixed with others"
    n_shown = sum(one.presented for one in made[:n_urgent])
    if n_shown <= ROWS_MAX - 1:
        assert all(not row.group for row in urgent), "a row of its own for each while there are rows"
    assert shown.rows[: len(urgent)] == tuple(urgent), "urgent rows stand first"
    groups = [row.group for row in shown.rows if row.group]
    assert len(groups) == len(set(groups)), "a group can be named"
    assert bool(shown.banner_ko) == flood == bool(shown.banner_en)


def test_without_a_flood_ten_alarms_are_ten_rows_and_more_are_gathered() -> None:
    made = [record(f"a{index}", sequence=index) for index in range(10)]
    assert [row.group for row in present(made, TOPOLOGY, False).rows] == [""] * 10
    made += [record(f"b{index}", 3) for index in range(5)]
    rows = present(made, TOPOLOGY, False).rows
    assert [row.group for row in rows] == [""] * 9 + [OTHERS]
    assert len(rows[-1].alarms) == 6


def rows_of(made: list[Record], dead: tuple[str, ...] = ()) -> dict[str, Any]:
    return {row.group or row.alarms[0].facts.alarm_id: row for row in present(made, TOPOLOGY, True, dead).rows}


def test_what_hangs_on_a_faulted_breaker_is_one_row_that_names_it() -> None:
    made = [record("open", node="cb", onset_s=1.2), record("e1", node="ess1", onset_s=1.1), record("e2", node="ess2")]
    rows = rows_of(made)
    assert list(rows) == ["cb"]
    assert (rows["cb"].candidate, rows["cb"].cause_ko, len(rows["cb"].alarms)) == ("cb", "연계 차단기", 3)
    made[0] = record("open", node="cb", phase=Phase.UNACK_RETURNED)
    assert "cb" not in rows_of(made), "what has returned is not the cause"
    assert list(rows_of(made, ("cb",))) == ["cb"], "a dead node is, whether it has an alarm or not"


def test_what_was_heard_comes_from_no_breaker_and_no_cause_is_younger_than_its_effect() -> None:
    opened = record("open", node="cb", onset_s=300.0)
    heard = record("glass:mic03", node="mic03", onset_s=301.0)
    heard.facts = replace(heard.facts, is_event=True, definition_id="glass")
    before = record("old", node="ess2", onset_s=100.0)
    after = record("new", node="ess1", onset_s=299.0)
    rows = rows_of([opened, heard, before, after])
    names = {key: [one.facts.alarm_id for one in row.alarms] for key, row in rows.items()}
    assert sorted(names.pop("cb")) == ["new", "open"]
    assert sorted(names.values()) == [["glass:mic03"], ["old"]]


def test_when_most_of_a_feeder_is_in_trouble_the_feeder_is_the_candidate() -> None:
    troubled = [record(f"x{node}", node=node, onset_s=index) for index, node in enumerate(("pv1", "ess1", "lamp1"))]
    assert rows_of(troubled)["f1"].candidate == "f1"
    few = [record("x", node="pv1", onset_s=1.0), record("y", node="ess1", onset_s=0.5), record("z", node="pv1")]
    row = rows_of(few)["f1"]
    assert row.candidate == "ess1", "else where the first came from"
    assert row.first_out.facts.alarm_id == "y"
    assert present(few, TOPOLOGY, True).banner_ko == "홍수 3건 · 원인 후보 진천 ESS"


def test_when_all_feeders_are_in_trouble_what_feeds_them_is_the_candidate() -> None:
    urgent = [record(f"u{index}", 1, "centre", onset_s=9.0) for index in range(9)]
    troubled = [record(f"x{node}", node=node, onset_s=index) for index, node in enumerate(("pv1", "ess1", "ess2"))]
    troubled += [record("y", 3, "lamp1"), record("z", 3, "mic03")]
    assert rows_of(urgent + troubled)[OTHERS].candidate == "f1", "four of five hang on one feeder"
    troubled += [record(f"e{index}", node="ess2") for index in range(3)]
    row = rows_of(urgent + troubled)[OTHERS]
    assert (row.candidate, row.cause_ko) == ("cb", "연계 차단기"), "the lowest node that all of them hang on"
    assert rows_of(urgent + troubled[1:3] + [record("n", node="")])[OTHERS].candidate == "ess1"


def test_in_a_flood_lone_alarms_of_low_priority_are_folded() -> None:
    made = [record("a", 3, "ess1"), record("b", 3, "ess2"), record("c", 2, "centre")]
    assert set(rows_of(made)) == {OTHERS, "c"}


def test_a_row_sounds_once_for_what_waits_and_not_for_diagnostics() -> None:
    one = present([record("a", 2)], TOPOLOGY, False).rows[0]
    assert sound_key(one, 5) == f"a@{S}"
    quiet = present([record("a", 4), record("b", 2, phase=Phase.ACK_ACTIVE)], TOPOLOGY, False).rows
    assert [sound_key(row, 5) for row in quiet] == ["", ""]
    group = rows_of([record("a", 2), record("b", 3)])["f1"]
    assert sound_key(group, 5) == "f1@5:2"


def test_every_urgent_alarm_sounds_also_where_they_are_gathered() -> None:
    def keys(n: int) -> set[str]:
        made = [record(f"u{index}", 1, onset_s=index) for index in range(n)]
        return {sound_key(row, 5) for row in present(made, TOPOLOGY, True).rows}

    assert len({frozenset(keys(n)) for n in range(11, 15)}) == 4


# ---------------------------------------------------------------- key figures


def change(name: str, at_s: float, happening: Happening = Happening.RAISE, priority: int = 2, waited_s: float = float(
    "nan"
)) -> Change:  # fmt: skip
    made = record(name, priority)
    before, after = Standing(), Standing(Phase.UNACK_ACTIVE)
    if happening is not Happening.RAISE:
        before, after = after, Standing(Phase.UNACK_RETURNED if happening is Happening.RETURN else Phase.ACK_ACTIVE)
    return Change(message(made), made.facts, happening, before, after, waited_s=waited_s, mono_ns=round(at_s * S))


def figures(kpis: Kpis, meter: FloodMeter, at_s: float, *made: Record) -> dict[str, Any]:
    return kpis.figures(made, Counts(0, 0, (0, 0, 0, 0)), meter, round(at_s * S))


def test_an_alarm_that_comes_three_times_a_minute_chatters_and_a_longer_delay_is_proposed() -> None:
    kpis, meter = Kpis(), FloodMeter()
    for at in (0.0, 25.0):
        kpis.take([change("a", at), change("a", at + 7.0, Happening.RETURN)], meter)
    assert kpis.chattering(26 * S) == []
    kpis.take([change("a", 50.0), change("b", 51.0)], meter)
    assert kpis.chattering(51 * S) == [{"alarm_id": "a", "per_min": 3, "on_delay_s": 10.0}]
    assert kpis.chattering(50 * S + CHATTER_SHOWN_NS) == []


def test_rates_top_shares_and_waiting_times() -> None:
    kpis, meter = Kpis(), FloodMeter()
    kpis.step(0, False)
    kpis.take([change("a", 1.0, priority=1), *(change("b", 2.0 + index, priority=3) for index in range(3))], meter)
    kpis.step(900 * S, True)
    kpis.take([change("c", 901.0, priority=3)], meter)
    kpis.take([change("a", 902.0, Happening.ACKNOWLEDGE, waited_s=float(one)) for one in range(1, 101)], meter)
    found = figures(kpis, meter, 902.0)
    assert found["rates"] == [4, 1]
    assert found["rate_per_10_min"] == 1
    assert found["top"][0] == {"alarm_id": "b", "n": 3}
    assert found["priority_share_pct"] == [20.0, 0.0, 80.0, 0.0]
    assert (found["ack_mean_s"], found["ack_p95_s"]) == (50.5, 96.0)
    assert found["flood_pct"] == 100.0
    kpis.step(1_800 * S, False)
    assert figures(kpis, meter, 1_800.0)["flood_pct"] == 50.0


def test_what_stands_for_a_day_is_stale_the_oldest_first() -> None:
    made = [record("new", onset_s=2.0), record("b", onset_s=1.0), record("a", onset_s=0.5)]
    made.append(record("hidden", hidden=Hidden.SHELVED))
    assert [one.facts.alarm_id for one in stale(made, 86_401 * S)] == ["a", "b"]
    assert figures(Kpis(), FloodMeter(), 86_401.0, *made)["stale"] == ["a", "b"]


def test_everything_the_figures_keep_is_bounded() -> None:
    kpis, meter = Kpis(), FloodMeter()
    for index in range(3 * WATCHED_MAX):
        kpis.take([change(f"a{index}", index * 0.01)], meter)
    assert len(kpis._watched) == WATCHED_MAX
    assert len(kpis._bins[-1].by_id) == BIN_IDS_MAX
    for hour in range(200):
        kpis.step(hour * 3_600 * S, False)
    assert len(kpis._bins) == 144
    assert len(kpis.save(200 * 3_600 * S)) < 200_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bins": [], "waits": [], "into_bin_ns": 0}', '{"bins": [[1]]}'])
def test_figures_that_are_none_are_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Kpis().restore(text, 0, 0)


def test_a_day_away_empties_the_bins() -> None:
    kpis, meter = Kpis(), FloodMeter()
    kpis.take([change("a", 1.0)], meter)
    again = Kpis()
    again.restore(kpis.save(2 * S), 86_400 * S, 7 * S)
    assert figures(again, meter, 7.0)["raised_24_h"] == 0
