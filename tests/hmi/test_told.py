"""What the first screen tells beside values: marks of values put in, the closed gate, the shelf, words for names."""

import math
from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QMouseEvent

from gwanje.core.bus.messages import Event
from gwanje.core.tags.quality import Quality
from gwanje.hmi.model.places import in_words
from gwanje.hmi.views.objectmarks import hint

SUBSTITUTED, BLOCKED = int(Quality.SUBSTITUTED), int(Quality.UNCERTAIN | Quality.BLOCKED)


def said(screen, panel):
    """Everything that a panel writes, with its place."""
    notes = screen.view.ui.recorder = []
    panel.relayout()
    panel.grab()
    screen.view.ui.recorder = None
    return notes


def words(screen, panel):
    return [note.text for note in said(screen, panel)]


def close_gate(screen):
    """From now on every scan says so."""
    whole = screen.city.send_scan
    screen.city.send_scan = lambda changed=None, quality=0: whole(
        {**(changed or {}), "system.commands.read_only": 1.0}, quality
    )
    screen.turn(6, spectra=False)


@pytest.mark.parametrize("quality", [SUBSTITUTED, BLOCKED])
def test_a_breaker_that_a_person_put_in_carries_the_mark(screen, quality):
    screen.turn(5)
    assert "M" not in words(screen, screen.view.diagram)
    screen.city.marked["grid.breaker.closed"] = quality
    screen.turn(3)
    notes = said(screen, screen.view.diagram)
    name = next(note for note in notes if note.text.startswith("연계 차단기"))
    marks = [note for note in notes if note.text == "M"]
    assert len(marks) == 1
    assert abs(marks[0].room.center().y() - name.room.center().y()) < 3
    assert marks[0].room.right() <= name.room.left()
    assert name.text.endswith("?") == (quality == BLOCKED)


@pytest.mark.parametrize("tag", ["jincheon.ess1.soc", "jincheon.ess1.online", "jincheon.ess1.state"])
def test_a_feeder_whose_symbol_comes_from_a_value_put_in_carries_the_mark(screen, tag):
    screen.city.marked[tag] = SUBSTITUTED
    screen.turn(5)
    assert words(screen, screen.view.diagram).count("M") == 1


def test_values_within_sentences_and_balances_carry_the_mark(screen):
    screen.city.marked.update({"control.tie.import_setpoint_w": SUBSTITUTED, "grid.tie.import_w": BLOCKED})
    screen.turn(5)
    diagram = words(screen, screen.view.diagram)
    assert "설정 200 kW M" in diagram
    assert any(one.startswith("변압기") and one.endswith("? % M") for one in diagram)
    assert "M" in words(screen, screen.view.balance)


def test_the_number_of_an_alarm_carries_the_mark_of_its_tag(screen, fake):
    fake.trouble(screen)
    screen.turn(4)
    assert "M" not in words(screen, screen.view.banner)
    screen.city.marked["grid.tie.import_w"] = SUBSTITUTED
    screen.turn(3)
    shown = words(screen, screen.view.banner)
    assert "M" in shown
    assert "2,310 kW > 2,250" in shown
    screen.city.marked["grid.tie.import_w"] = BLOCKED
    screen.turn(3)
    assert "2,310 kW > 2,250?" in words(screen, screen.view.banner)


def test_a_closed_gate_is_said_with_its_reason_and_shuts_the_operation(screen):
    screen.sign_in(areas=("microgrid",))
    assert "쓰기 차단" not in words(screen, screen.view.header)
    assert screen.desk.why_not(area="microgrid", writes=True) == ""
    event = Event("control", "core", "gate", screen.city.clock.utc_ns(), 1, "정비로 닫음", "closed for works")
    screen.city.receiver.waiting.append(event)
    close_gate(screen)
    chip = next(note for note in said(screen, screen.view.header) if note.text == "쓰기 차단")
    assert "정비로 닫음" in screen.view.header.hint_at(chip.room.center().toPoint())
    screen.view.console.open_object("breaker")
    plate = screen.view.console.faceplate
    assert not plate.operate.select.isEnabled()
    assert "정비로 닫음" in plate.operate.why.text()
    assert "정비로 닫음" in hint(screen.view.ui.texts, screen.desk, screen.view.diagram.objects["breaker"])
    assert screen.desk.why_not() == "", "acknowledging and shelving go on"


def click(widget, at):
    left = Qt.MouseButton.LeftButton
    event = QMouseEvent(QEvent.Type.MouseButtonPress, at, at, left, left, Qt.KeyboardModifier.NoModifier)
    widget.mousePressEvent(event)


def test_what_is_put_aside_is_counted_and_a_click_opens_it(screen, fake):
    screen.turn(3)
    assert "보류 0" in words(screen, screen.view.banner)
    now = screen.city.clock.utc_ns()
    for number, state in enumerate(("shelved", "shelved", "suppressed", "out_of_service")):
        screen.city.send_alarm(fake.alarm(number, 3, state, "mic01", "글", "text", 1.0, "", math.nan, now + number))
    screen.turn(3)
    note = next(one for one in said(screen, screen.view.banner) if one.text == "보류 2 · 억제 1 · 사용 중지 1")
    click(screen.view.banner, QPointF(note.room.center()))
    assert screen.view.console.alarms.isVisible()
    assert screen.view.console.alarms.page == "shelved"
    screen.view.console.alarms.leave()
    click(screen.view.banner, QPointF(40, 10))
    assert screen.view.console.alarms.page == "standing"


def test_the_counts_of_the_core_are_the_ones_that_are_shown(screen):
    screen.core.rows, screen.core.hidden = [], {"n_shelved": 7, "n_suppressed": 0, "n_out_of_service": 2}
    screen.turn(15)
    assert "보류 7 · 사용 중지 2" in words(screen, screen.view.banner)


@pytest.mark.parametrize("lang", ["ko", "en"])
@pytest.mark.parametrize("size", [(1920, 1080), (1366, 768)])
def test_keys_areas_and_gate_are_readable_to_their_end(application, fake, site, size, lang):
    screen = fake.build(*size, lang, site)
    close_gate(screen)
    screen.turn(15)
    notes, texts = said(screen, screen.view.header), screen.view.ui.texts
    shown = [note.text for note in notes]
    assert texts("header.keys") in shown
    assert texts("header.read_only") in shown
    assert [area.name.of(lang).partition(" (")[0] in shown for area in screen.desk.areas] == [True] * 6
    assert shown.count(texts("areas.free")) == 6
    screen.view.close()


def test_good_news_leaves_the_areas_in_sight_and_a_refusal_is_read_to_its_end(application, fake, site):
    screen = fake.build(1366, 768, "en", site)
    close_gate(screen)
    screen.sign_in(areas=("microgrid",))
    shown = words(screen, screen.view.header)
    assert {"Area taken", "Microgrid", "System"} <= set(shown)
    screen.desk.say("why.role_supervisor")
    screen.turn(1, spectra=False)
    assert screen.view.ui.texts("why.role_supervisor") in words(screen, screen.view.header)
    screen.view.close()


@pytest.mark.parametrize("size", [(1920, 1080), (1366, 768)])
def test_an_event_says_first_and_in_two_lines_what_happened(application, fake, site, size):
    screen = fake.build(*size, "en", site)
    change = fake.alarm(1, 3, "ack_active", "jincheon.ess1.soc", "글", "Jincheon ESS, manual discharge was refused",
                        1.0, "", math.nan, screen.city.clock.utc_ns())  # fmt: skip
    screen.city.send_alarm(replace(change, place_ko="진천 ESS", place_en="Jincheon ESS"))
    screen.turn(5)
    notes = said(screen, screen.view.events)
    assert "acked · Jincheon ESS, manual discharge was refused" in " ".join(note.text for note in notes)
    what = next(note for note in notes if note.text.startswith("acked"))
    right = [note.text for note in notes if note.room.left() > what.room.left() and note.room.top() > 10]
    assert " ".join(right) == "Jincheon ESS"
    hint_ = screen.view.events.hint_at(what.room.center().toPoint())
    assert hint_ == "Jincheon ESS · acked · Jincheon ESS, manual discharge was refused"
    screen.view.close()


def test_names_of_tags_and_parts_are_said_in_words(screen, site):
    places = screen.live.places
    tag = site.tags.get("control.ess1.discharge_setpoint_w")
    text = "control.ess1.discharge_setpoint_w at part_media, city.nothing.here"
    assert in_words(text, site.tags, places, "en") == f"{tag.description_en} at Audio intake, city.nothing.here"
    assert in_words(text, site.tags, places, "ko").startswith(f"{tag.description_ko} at 마이크 수신")
    assert places.of("part_media").en == places.of("system.part_media.alive").en == "Audio intake"
    assert places.of("control.ess1.discharge_setpoint_w") == places.of("jincheon.ess1")


def test_a_tie_line_with_an_open_breaker_is_not_balanced(screen):
    screen.turn(3)
    whole = screen.city.send_scan
    for closed, expected, other in ((1.0, "연계점 균형", "연계 차단기 열림"), (0.0, "연계 차단기 열림", "연계점 균형")):
        changed = {"grid.tie.import_w": 0.0, "grid.breaker.closed": closed}
        screen.city.send_scan = lambda _changed=None, quality=0, changed=changed: whole(changed, quality)
        screen.turn(3)
        shown = [note for note in said(screen, screen.view.diagram) if note.font == "label"]
        left = [note.text for note in shown if note.ink.right() < screen.view.diagram._feed_x()]
        assert expected in left
        assert other not in left


def test_the_line_of_a_flood_keeps_off_its_frame(screen, fake):
    fake.storm(screen, 60)
    screen.core.rows, screen.core.flood, screen.core.n_active = [], True, 60
    screen.turn(15)
    banner = screen.view.banner
    note = next(one for one in said(screen, banner) if "홍수" in one.text)
    assert note.room.top() >= 4
    assert banner.width() - note.room.right() >= 8
    assert banner.hint_at(note.room.center().toPoint()) == note.text
