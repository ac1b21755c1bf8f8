"""Bindings: what changed, what it looks like, what must be marked."""

import math

import numpy as np
import pytest

from gwanje.core.tags.expression import compile_expression
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import Tag, TagTable
from gwanje.hmi.binding import Bindings, Shown
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.items.value import NOTHING, number_text, value_text
from gwanje.hmi.store import Snapshot

TABLE = TagTable.build(
    [
        Tag("a.b.power_w", "W", "field", stale_after_s=1.0),
        Tag("a.c.power_w", "W", "field", stale_after_s=1.0),
        Tag("a.d.setpoint_w", "W", "control"),
        Tag("a.e.closed", "", "field", kind="state", states=(("열림", "open"), ("닫힘", "closed"))),
    ]
)
S = 1_000_000_000


def quantity(text, unit="W", factor=1.0, decimals=0, states=()):
    return Quantity(compile_expression(text, TABLE), unit, factor, decimals, states)


@pytest.fixture
def snapshot():
    return Snapshot(TABLE.stale_after_ns())


def write(snapshot, name, value, now=S, quality=0):
    index = np.array([TABLE.index(name)])
    snapshot.write(index, np.array([value]), np.array([quality], np.uint16), np.zeros(1, np.int64), now)


def test_nothing_has_arrived_yet(snapshot):
    bindings = Bindings([quantity("a.b.power_w")], TABLE)
    assert bindings.poll(snapshot, 0) == []
    assert not bindings.shown[0].available


def test_only_what_changed_is_reported(snapshot):
    bindings = Bindings([quantity("a.b.power_w", "kW", 1e-3), quantity("a.d.setpoint_w")], TABLE)
    write(snapshot, "a.b.power_w", 5_000.0)
    assert bindings.poll(snapshot, S) == [0]
    assert bindings.shown[0].value == 5.0
    assert bindings.poll(snapshot, S) == []


def test_what_reads_alike_is_not_painted_again_but_kept(snapshot):
    bindings = Bindings([quantity("a.b.power_w", "kW", 1e-3, 1)], TABLE)
    write(snapshot, "a.b.power_w", 5_000.0)
    bindings.poll(snapshot, S)
    write(snapshot, "a.b.power_w", 5_010.0)
    assert bindings.poll(snapshot, S) == []
    assert bindings.shown[0].value == pytest.approx(5.01)
    write(snapshot, "a.b.power_w", 5_060.0)
    assert bindings.poll(snapshot, S) == [0]


def test_an_expression_has_the_worst_quality_of_its_tags(snapshot):
    bindings = Bindings([quantity("a.b.power_w + a.c.power_w")], TABLE)
    write(snapshot, "a.b.power_w", 1.0, quality=int(Quality.SIMULATED))
    bindings.poll(snapshot, S)
    assert not bindings.shown[0].available
    write(snapshot, "a.c.power_w", 2.0, quality=int(Quality.UNCERTAIN | Quality.OUT_OF_RANGE))
    assert bindings.poll(snapshot, S) == [0]
    shown = bindings.shown[0]
    assert (shown.value, shown.available, shown.doubtful, shown.simulated) == (3.0, True, True, True)


def test_age_alone_marks_a_value_and_news_unmark_it(snapshot):
    bindings = Bindings([quantity("a.b.power_w")], TABLE)
    write(snapshot, "a.b.power_w", 1.0, now=S)
    bindings.poll(snapshot, S)
    assert bindings.poll(snapshot, 2 * S) == []
    assert bindings.poll(snapshot, 2 * S + 1) == [0]
    assert bindings.shown[0].quality & Quality.STALE
    write(snapshot, "a.b.power_w", 1.0, now=3 * S)
    assert bindings.poll(snapshot, 3 * S) == [0]
    assert not bindings.shown[0].doubtful


def test_a_lost_link_marks_what_never_grows_stale_by_itself(snapshot):
    bindings = Bindings([quantity("a.d.setpoint_w")], TABLE)
    write(snapshot, "a.d.setpoint_w", 1.0, now=S)
    bindings.poll(snapshot, 900 * S)
    assert not bindings.shown[0].doubtful
    assert bindings.poll(snapshot, 900 * S, lost=True) == [0]
    assert bindings.shown[0].doubtful
    assert bindings.poll(snapshot, 900 * S, lost=False) == [0]
    assert not bindings.shown[0].doubtful


def test_a_bad_number_is_no_number(snapshot):
    bindings = Bindings([quantity("a.b.power_w / a.c.power_w", "")], TABLE)
    write(snapshot, "a.b.power_w", 1.0)
    write(snapshot, "a.c.power_w", 0.0)
    bindings.poll(snapshot, S)
    assert not bindings.shown[0].available


def test_a_view_without_bindings_never_changes(snapshot):
    assert Bindings([], TABLE).poll(snapshot, S) == []


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1234567.0, 0, "1,234,567"), (-0.4, 0, "0"), (-0.6, 0, "-1"), (60.01349, 3, "60.013"), (-1234.56, 1, "-1,234.6")],
)
def test_numbers(value, decimals, text):
    assert number_text(value, decimals) == text


def test_texts_of_values():
    breaker = quantity("a.e.closed", "", states=TABLE.get("a.e.closed").states)
    assert value_text(breaker, Shown(1.0, 0), "ko") == "닫힘"
    assert value_text(breaker, Shown(0.0, int(Quality.BAD | Quality.STALE)), "en") == "open?"
    assert value_text(breaker, Shown(7.0, 0), "en") == "7"
    assert value_text(quantity("a.b.power_w"), Shown(), "ko") == NOTHING
    assert value_text(quantity("a.b.power_w"), Shown(math.nan, 0), "ko") == NOTHING
