"""What people's commands hold, through kills at any moment: no more, no less, and nothing of it unsaid."""

import json
import random

import pytest

from gwanje.core.clock import VirtualClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field import kept_orders
from gwanje.io.field.kept_orders import LOST, SPARE_LINES, KeptOrder

from ..left_orders import S, Told, opened

POINTS = [f"a.d{n}.limit_w" for n in range(5)]
TAGS = TagTable.build([Tag(one, "W", "part", "setpoint", low=0, high=100) for one in POINTS])
ONE, TWO, THREE = POINTS[:3]


class Part:
    """A part that is killed and started anew in one folder."""

    def __init__(self, folder):
        self.folder, self.clock, self.told, self.barred = folder, VirtualClock(), Told(), set()
        self.kept = self.begin()

    def begin(self):
        self.kept = opened(self.folder, TAGS, POINTS, self.told, self.clock, self.barred)
        return self.kept

    @property
    def path(self):
        return self.folder / "orders-part.jsonl"

    def keep(self, point, value=50.0, life_s=60.0):
        self.kept.keep(point, value, self.clock.mono_ns() + round(life_s * S))

    def left(self):
        """What the process that starts now finds standing."""
        kept = self.begin()
        found = {point: kept.of(point) for point in POINTS}
        kept.tell()
        return {point: one.value for point, one in found.items() if one is not None}


@pytest.fixture
def part(tmp_path):
    made = Part(tmp_path)
    yield made
    made.kept.close()


def test_what_stands_is_found_with_its_own_end_and_what_was_ended_is_not(part):
    part.keep(ONE, 10.0)
    part.keep(TWO, 20.0)
    part.keep(ONE, 30.0, life_s=5.0)
    part.keep(THREE, 7.0)
    part.kept.end(THREE)
    kept = part.begin()
    assert kept.of(ONE) == KeptOrder(ONE, 30.0, part.clock.mono_ns() + 5 * S)
    assert kept.of(ONE) is None, "asked for once"
    assert kept.of(THREE) is None
    assert kept.of(TWO).value == 20.0
    kept.tell()
    assert part.told.classes() == ["orders_taken_up"]
    event = part.told.events[0]
    assert event.text_en == f"orders taken up again after a restart: {ONE}, {TWO}"
    assert ONE in event.text_ko
    assert part.left() == {ONE: 30.0, TWO: 20.0}, "and through the next kill"


def test_what_is_over_is_never_revived_and_said_to_be_over(part):
    part.keep(ONE, life_s=1.0)
    part.keep(TWO, life_s=60.0)
    part.clock.advance_ns(S)
    assert part.left() == {TWO: 50.0}
    assert part.told.classes() == ["orders_over", "orders_taken_up"]
    assert part.left() == {TWO: 50.0}
    assert part.told.classes()[2:] == ["orders_taken_up"], "told once"


def test_what_nobody_may_write_now_is_not_revived_also_when_the_bar_is_gone(part):
    part.keep(ONE)
    part.barred.add(ONE)
    assert part.left() == {}
    assert part.told.classes() == [LOST]
    assert "danger tag" in part.told.events[0].text_en
    part.barred.clear()
    assert part.left() == {}


def test_an_order_that_no_device_asks_for_is_lost_and_told(part):
    part.keep(ONE)
    part.begin().tell()
    assert part.told.classes() == [LOST]
    assert part.told.events[0].text_en.endswith(f"{ONE}: no device takes it")
    assert part.left() == {}


def test_a_part_that_dies_before_it_has_asked_loses_nothing(part):
    part.keep(ONE)
    for _ in range(5):
        part.begin()
    assert part.left() == {ONE: 50.0}


def test_a_device_that_does_not_take_it_again_is_told_once_and_only_then(part):
    part.keep(ONE)
    part.kept.refused(ONE, "busy")
    assert part.told.classes() == [], "an order of its own is refused to who gave it"
    kept = part.begin()
    kept.of(ONE)
    kept.refused(ONE, "busy")
    kept.refused(ONE, "busy")
    assert part.told.classes() == [LOST]
    assert "busy" in part.told.events[0].text_ko
    kept = part.begin()
    kept.of(ONE)
    kept.settled(ONE)
    kept.refused(ONE, "busy")
    assert part.told.classes() == [LOST]


@pytest.mark.parametrize("line", [
    '{"point"', "[]", "7", '{"point": "a.d1.limit_w"}', '{"point": "x.y.z", "value": 1.0, "until_mono_ns": 9}',
    '{"point": "a.d1.limit_w", "value": 1000.0, "until_mono_ns": 9}',
    '{"point": "a.d1.limit_w", "value": NaN, "until_mono_ns": 9}',
    '{"point": "a.d1.limit_w", "value": 1.0, "until_mono_ns": 9.5}', '{"ended": ["a"]}', '{"point": {}, "value": 1}',
])  # fmt: skip
def test_a_damaged_line_costs_itself_and_is_told(part, line):
    part.keep(ONE)
    with open(part.path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    part.keep(TWO)
    assert part.left() == {ONE: 50.0, TWO: 50.0}
    assert part.told.classes() == [LOST, "orders_taken_up"]
    assert "1 lines of 3" in part.told.events[0].text_en
    assert part.told.events[0].text_ko.endswith("(3줄 중 1줄)")
    assert part.left() == {ONE: 50.0, TWO: 50.0}
    assert part.told.classes()[2:] == ["orders_taken_up"], "the file was written anew"


def test_a_file_of_another_boot_is_not_believed(part):
    part.keep(ONE)
    lines = part.path.read_text().splitlines()
    part.path.write_text("\n".join([json.dumps({"boot": "another"}), *lines[1:], ""]))
    assert part.left() == {}
    assert part.told.classes() == [LOST]


def test_a_kill_in_the_middle_of_a_line_takes_that_line_alone(part):
    part.keep(ONE)
    part.keep(TWO)
    whole = part.path.read_bytes()
    last = len(whole) - whole[:-1].rindex(b"\n") - 1
    for cut in range(1, last):
        part.path.write_bytes(whole[:-cut])
        assert part.left() == {ONE: 50.0}, cut
        assert LOST not in part.told.classes()


def test_the_file_is_bounded_and_says_the_same_after_it_was_written_anew(part):
    chance = random.Random(3)
    truth, longest = {}, 0
    for step in range(3 * SPARE_LINES):
        point = chance.choice(POINTS)
        if chance.random() < 0.2:
            part.kept.end(point)
            truth.pop(point, None)
        else:
            part.keep(point, float(step % 100))
            truth[point] = float(step % 100)
        if step % 512 == 0:
            longest = max(longest, len(part.path.read_bytes().splitlines()))
    assert longest <= SPARE_LINES + 2 * len(POINTS) + 2
    assert part.left() == truth


def test_a_folder_that_takes_nothing_is_told_once_and_tried_again(part, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    real = kept_orders.os.write
    monkeypatch.setattr(kept_orders.os, "write", full)
    for value in range(3):
        part.keep(ONE, float(value))
    assert part.told.classes() == [LOST]
    assert "cannot be kept" in part.told.events[0].text_en
    monkeypatch.setattr(kept_orders.os, "write", real)
    part.keep(TWO)
    assert part.left() == {ONE: 2.0, TWO: 50.0}, "everything that stands is written with the next one"


def test_an_end_that_cannot_be_kept_does_not_let_the_order_come_back(part, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    part.keep(ONE)
    with monkeypatch.context() as patch:
        patch.setattr(kept_orders.os, "write", full)
        part.kept.end(ONE)
        assert part.left() == {}, "rather nothing than what has ended"
    part.keep(TWO)
    assert part.left() == {TWO: 50.0}
