"""Questions over the bus about the past: what is asked is checked, what is answered is what was recorded."""

import math

import numpy as np
import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian.config import HistorianConfig
from gwanje.historian.recorder import Recorder
from gwanje.historian.service import POINTS_MAX, TAGS_MAX, QuestionError, answer

BEGIN = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
GOOD = {"op": "series", "tags": ["a.b.x"], "from_utc_ns": BEGIN, "until_utc_ns": BEGIN + 1000 * SECOND, "n": 50}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """1000 s of x = t and of y that is bad and infinite now and then."""
    directory = tmp_path_factory.mktemp("history")
    table = TagTable.build([Tag("a.b.x", "", "field"), Tag("a.b.y", "", "field")])
    recorder = Recorder(directory, table, HistorianConfig(), SystemClock())
    ids = table.indices(["a.b.x", "a.b.y"]).astype(np.uint32)
    for second in range(1000):
        values = np.array([float(second), math.inf if second % 100 == 99 else -float(second)])
        quality = np.array([0, 0x8000 if second % 100 == 59 else 0], np.uint16)
        times = np.full(2, BEGIN + second * SECOND)
        recorder.add_scan(ids, values, quality, times)
    recorder.flush()
    recorder.commit()
    recorder.close()
    return directory


def test_series_are_the_last_points_of_equal_spans(history):
    x = answer(history, GOOD)["series"]["a.b.x"]
    assert len(x["utc_ns"]) == 50
    assert x["value"] == [float(19 + 20 * piece) for piece in range(50)]
    assert x["utc_ns"] == [BEGIN + int(value) * SECOND for value in x["value"]]


def test_bad_and_infinite_values_come_as_none(history):
    y = answer(history, GOOD | {"tags": ["a.b.y", "a.b.x"]})["series"]["a.b.y"]
    assert [position for position, value in enumerate(y["value"]) if value is None] == sorted(
        {piece for piece in range(50) for last in [20 * piece + 19] if last % 100 in (59, 99)}
    )


def test_few_points_come_whole_and_unknown_tags_empty(history):
    asked = GOOD | {"tags": ["a.b.x", "no.such.tag"], "until_utc_ns": BEGIN + 5 * SECOND}
    series = answer(history, asked)["series"]
    assert series["a.b.x"]["value"] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert series["no.such.tag"] == {"utc_ns": [], "value": []}


@pytest.mark.parametrize(
    "change",
    [
        {"op": "drop"},
        {"tags": []},
        {"tags": "a.b.x"},
        {"tags": ["x"] * (TAGS_MAX + 1)},
        {"tags": [5]},
        {"n": 0},
        {"n": POINTS_MAX + 1},
        {"n": 1.5},
        {"n": True},
        {"from_utc_ns": BEGIN + 1000 * SECOND},
        {"until_utc_ns": 2**64},
        {"from_utc_ns": "now"},
    ],
)
def test_questions_that_ask_for_too_much_are_refused(history, change):
    with pytest.raises(QuestionError):
        answer(history, GOOD | change)


def test_a_tag_name_cannot_break_out_of_the_question(history):
    evil = "x') or 1=1 --"
    assert answer(history, GOOD | {"tags": [evil]})["series"] == {evil: {"utc_ns": [], "value": []}}
