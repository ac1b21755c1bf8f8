"""What was recorded before: held values on a grid, a service that answers, refuses, lies or is not there."""

import math
import threading

import numpy as np
import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.tags.expression import compile_expression
from gwanje.core.tags.table import Tag, TagTable
from gwanje.hmi import history
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.history import PastLoader, bus_loader, load_past

TABLE = TagTable.build([Tag("a.b.power_w", "W", "field"), Tag("a.c.power_w", "W", "field")])
S = 1_000_000_000


def series(*pairs):
    return np.array([time * S for time, _ in pairs], np.int64), np.array([value for _, value in pairs], float)


def total():
    return Quantity(compile_expression("a.b.power_w + a.c.power_w", TABLE), "kW", 1e-3, 0)


def test_values_are_held_until_the_next_one():
    record = {"a.b.power_w": series((10, 1_000.0), (13, 3_000.0)), "a.c.power_w": series((11, 500.0), (12, math.nan))}
    past = load_past(lambda *_: record, [total()], 0, 14 * S, 100, S)
    assert (past.utc_ns // S).tolist() == [10, 11, 12, 13, 14]
    assert np.isnan(past.values[[0, 2, 3, 4], 0]).all()
    assert past.values[1, 0] == pytest.approx(1.5)


def test_the_grid_is_spread_over_what_was_recorded():
    record = {"a.b.power_w": series((100, 1.0)), "a.c.power_w": series((100, 1.0))}
    past = load_past(lambda *_: record, [total()], 0, 200 * S, 50)
    assert len(past.utc_ns) == 50
    assert past.utc_ns[-1] == 200 * S
    assert past.utc_ns[0] >= 100 * S


@pytest.mark.parametrize("record", [None, {}, {"a.b.power_w": (np.zeros(0, np.int64), np.zeros(0))}])
def test_no_record_is_no_past(record):
    assert load_past(lambda *_: record, [total()], 0, S, 10) is None


class Service(threading.Thread):
    """Answers one request to ``history``."""

    def __init__(self, bus, answer):
        super().__init__()
        self.server, self.answer, self.asked = bus.server("history"), answer, None
        self.start()

    def run(self):
        request = self.server.receive(20_000)
        if request is not None:
            self.asked = request.message
            request.reply(self.answer)
        self.server.close()


@pytest.fixture
def buses(tmp_path):
    clock = SystemClock()
    theirs, ours = Bus(tmp_path, "historian", clock), Bus(tmp_path, "hmi", clock)
    yield theirs, ours
    theirs.close()
    ours.close()


def test_the_service_is_asked_and_its_answer_understood(buses):
    theirs, ours = buses
    service = Service(theirs, {"series": {"a.b.power_w": {"utc_ns": [1, 2], "value": [5.0, None]}}})
    found = bus_loader(ours)(["a.b.power_w"], 1, 2, 3)
    service.join(20)
    assert service.asked == {"op": "series", "tags": ["a.b.power_w"], "from_utc_ns": 1, "until_utc_ns": 2, "n": 3}
    times, values = found["a.b.power_w"]
    assert times.tolist() == [1, 2]
    assert values[0] == 5.0
    assert math.isnan(values[1])


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "disk on fire"}, {}, {"series": 5}, {"series": {"a": {"utc_ns": [1]}}},
        {"series": {"a": {"utc_ns": [2, 1], "value": [1.0, 1.0]}}}, {"series": {"a": {"utc_ns": [1], "value": []}}},
        {"series": {"a": {"utc_ns": ["x"], "value": [1.0]}}},
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_no_past_and_says_so(buses, answer, caplog):
    theirs, ours = buses
    service = Service(theirs, answer)
    assert bus_loader(ours)(["a"], 1, 2, 3) is None
    service.join(20)
    assert "no history" in caplog.text


def test_nobody_there_is_no_past_without_a_word(buses, monkeypatch, caplog):
    monkeypatch.setattr(history, "REQUEST_TIMEOUT_MS", 50)
    assert bus_loader(buses[1])(["a"], 1, 2, 3) is None
    assert not caplog.text


def test_the_chart_begins_with_the_day_so_far(screen):
    """An hour that was recorded stands before what is seen live, on the simulated city's time axis."""
    city, utc_ns = screen.city, screen.city.clock.utc_ns()
    screen.turn(20)
    times = utc_ns - np.arange(3_600, 0, -10) * S

    def loader(tags, from_utc_ns, until_utc_ns, n):
        record = {tag: (times, np.full(len(times), 1_000.0)) for tag in tags}
        record["sim.clock.local_s"] = times, city.local_s - np.arange(3_600, 0, -10).astype(float)
        return record

    screen.view.balance.load_past(loader)
    screen.view.indicators.load_past(loader)
    for waiting in (screen.view.balance._past, screen.view.indicators._past):
        assert waiting._done.wait(20)
    screen.turn(10)
    first, last = screen.view.balance.curves.span_s
    assert city.local_s - first == pytest.approx(3_600, abs=30)
    assert last > city.local_s
    begin, until = screen.view.balance._window()
    assert until - begin >= 3_600
    assert np.isfinite(screen.view.indicators._sparks.of(0)).sum() > 60


def test_yesterday_is_left_out(screen):
    screen.turn(5)
    utc_ns = screen.city.clock.utc_ns()
    times = utc_ns - np.arange(100, 0, -1) * S
    local = np.where(np.arange(100) < 50, 80_000.0 + np.arange(100), 30_000.0 + np.arange(100))

    def loader(tags, *_):
        return {tag: (times, local if tag == "sim.clock.local_s" else np.ones(100)) for tag in tags}

    screen.view.balance.load_past(loader)
    assert screen.view.balance._past._done.wait(20)
    screen.turn(10)
    assert screen.view.balance.curves.span_s[0] >= 30_000


def test_a_result_is_given_once():
    loader = PastLoader(lambda: "past")
    assert loader.take() is None
    loader.start()
    assert loader._done.wait(20)
    assert loader.done
    assert (loader.take(), loader.take()) == ("past", None)
