"""The sheets on a fake city: signing in by keyboard, areas, operating with every refusal, alarms, marks; and that all
of it fits in both languages at both sizes of a control-room screen."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPushButton

from gwanje.core.tags.quality import Quality
from gwanje.hmi.desk.procedure import Stage
from gwanje.hmi.i18n import LANGUAGES
from gwanje.hmi.items.ink import Ink

ESS, POINT = "jincheon.ess1", "jincheon.ess1.manual_discharge_w"
SIZES = [(1920, 1080), (1366, 768)]


def press(widget, key, text="", modifier=Qt.KeyboardModifier.NoModifier):
    widget.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, key, modifier, text))


def click(widget, at):
    left = Qt.MouseButton.LeftButton
    widget.mousePressEvent(
        QMouseEvent(QEvent.Type.MouseButtonPress, at, at, left, left, Qt.KeyboardModifier.NoModifier)
    )


@pytest.fixture
def ready(screen, fake):
    """Somebody who holds the areas sits before a screen full of values."""
    screen.turn(6)
    screen.sign_in(areas=("jincheon", "microgrid"))
    screen.core.values = {}
    return screen


def faceplate(screen, key=ESS):
    screen.view.console.open_object(key)
    screen.turn(2)
    return screen.view.console.faceplate


def checked(screen, value="100", reason="저녁 부하"):
    plate = faceplate(screen)
    plate.operate.select.click()
    screen.settle()
    plate.operate.value.setText(value)
    QTest.keyClick(plate.operate.value, Qt.Key.Key_Return)
    screen.settle()
    plate.operate.reason.setText(reason)
    plate.operate.accept.setChecked(True)
    screen.turn(1)
    return plate


def words(sheet):
    """Every text that the sheet shows."""
    return "\n".join(one.text() for one in sheet.findChildren(QLabel) if one.isVisible())


# ---------------------------------------------------------------------------------------------------------- signing in


def test_signing_in_needs_only_the_keyboard(screen):
    screen.turn(3)
    press(screen.view, Qt.Key.Key_U)
    sheet = screen.view.console.sign_in
    assert sheet.isVisible()
    QTest.keyClicks(sheet.user, "guest")
    QTest.keyClick(sheet.user, Qt.Key.Key_Return)
    QTest.keyClicks(sheet.password, "open")
    QTest.keyClick(sheet.password, Qt.Key.Key_Return)
    screen.settle()
    assert not sheet.isVisible()
    assert screen.desk.session.user == "guest"
    assert sheet.password.text() == "", "no password stays in a field"


def test_a_wrong_password_is_said_in_the_language_of_the_screen(screen):
    screen.turn(3)
    sheet = screen.view.console.sign_in
    screen.view.console.open_sign_in()
    for lang, said in (("ko", "암호가 틀립니다"), ("en", "password is wrong")):
        screen.view.ui.texts.lang = lang
        sheet.user.setText("guest")
        sheet.password.setText("falsch")
        QTest.keyClick(sheet.password, Qt.Key.Key_Return)
        screen.settle()
        assert said in words(sheet)
        assert sheet.isVisible()


def test_an_empty_form_asks_nobody(screen):
    screen.turn(3)
    screen.view.console.open_sign_in()
    asked = len(screen.core.asked)
    screen.view.console.sign_in.go.click()
    assert len(screen.core.asked) == asked
    assert "사용자와 암호" in words(screen.view.console.sign_in)


def test_the_first_person_learns_how_users_are_made(screen):
    screen.core.users.clear()
    screen.turn(3)
    screen.view.console.open_sign_in()
    assert "gwanje user add" in words(screen.view.console.sign_in)


def test_a_locked_screen_goes_on_showing_and_operates_nothing(ready):
    plate = faceplate(ready)
    press(ready.view, Qt.Key.Key_L, modifier=Qt.KeyboardModifier.ControlModifier)
    ready.turn(3)
    assert not plate.operate.select.isEnabled()
    assert "잠겨" in plate.operate.select.toolTip()
    before = plate.value.text()
    ready.turn(30)
    assert plate.value.text() != before, "values go on"
    sheet = ready.view.console.sign_in
    assert sheet.isVisible()
    assert not sheet.user.isVisible()
    QTest.keyClicks(sheet.password, "x")
    sheet.password.setText("정답")
    QTest.keyClick(sheet.password, Qt.Key.Key_Return)
    ready.settle()
    ready.turn(12)
    assert plate.operate.select.isEnabled()


def test_keys_and_mouse_keep_the_desk_open(ready):
    def touches():
        return ready.core.asked.count(("session", "touch"))

    before = touches()
    for _ in range(5):
        press(ready.view, Qt.Key.Key_T)
        ready.turn(2)
    assert touches() == before + 1, "told once, not with every key"


def test_what_is_typed_into_a_sheet_moves_nothing_behind_it(ready):
    ready.view.console.open_sign_in()
    for key in (Qt.Key.Key_L, Qt.Key.Key_T, Qt.Key.Key_Space, Qt.Key.Key_A):
        press(ready.view.console.sign_in, key)
    assert ready.view.ui.texts.lang == "ko"
    assert not ready.view.console.alarms.isVisible()


# --------------------------------------------------------------------------------------------------------------- areas


def test_areas_are_taken_and_given_back_by_their_buttons(ready):
    ready.view.console.open_areas()
    sheet = ready.view.console.areas
    ready.turn(2)
    names = [one.area_id for one in ready.desk.areas]
    row = sheet._rows[names.index("eumseong")]
    row.first.click()
    ready.turn(12)
    assert ready.core.areas["eumseong"]["holder"] == "김하늘"
    assert row.first.text() == "반납"
    assert not row.second.isEnabled(), "there is nobody to hand it over to"
    row.first.click()
    ready.turn(12)
    assert ready.core.areas["eumseong"]["holder"] == ""


def test_an_area_is_offered_to_the_other_console_and_accepted_there(ready, fake, site):
    there = fake.build(1366, 768, site=site, core=ready.core, console="console-2")
    there.turn(2)
    there.sign_in("박산")
    ready.turn(60)
    ready.view.console.open_areas()
    at = [one.area_id for one in ready.desk.areas].index("jincheon")
    ready.view.console.areas._rows[at].second.click()
    ready.turn(12)
    there.turn(12)
    there.view.console.open_areas()
    row = there.view.console.areas._rows[at]
    assert row.first.text() == "인계 받기"
    row.first.click()
    there.turn(12)
    ready.turn(12)
    assert ready.core.areas["jincheon"]["holder"] == "박산"
    assert not faceplate(ready).operate.select.isEnabled()
    there.view.close()


# ---------------------------------------------------------------------------------------------------------- operations


def test_a_click_on_a_storage_opens_its_faceplate(ready):
    at = ready.view.diagram._columns[3].center()
    click(ready.view.diagram, QPointF(at))
    plate = ready.view.console.faceplate
    ready.turn(2)
    assert plate.isVisible()
    assert plate.name.text() == "진천 ESS"
    assert "kW" in plate.value.text()
    assert "양호" in plate.quality.text()
    assert "초 전" in plate.quality.text()


def test_the_keyboard_reaches_every_object(ready):
    seen = set()
    for _ in ready.view.diagram.objects:
        press(ready.view, Qt.Key.Key_Right)
        press(ready.view, Qt.Key.Key_Return)
        seen.add(ready.view.console.faceplate.object.label.en)
        ready.view.console.faceplate.leave()
    assert len(seen) == len(ready.view.diagram.objects)


def test_from_selection_to_confirmation_with_what_was_seen(ready):
    plate = checked(ready, "100")
    assert "지금" in plate.operate.change.text()
    assert "100 kW" in plate.operate.change.text()
    seen = plate.operate.seen
    plate.operate.execute.click()
    ready.settle()
    sent = next(one for one in ready.core.messages if one["op"] == "execute")
    assert sent["value"] == 100_000.0
    assert (sent["seen_value"], sent["seen_mono_ns"]) == (seen.value, seen.mono_ns)
    assert sent["reason"] == "저녁 부하"
    ready.core.move("moving")
    ready.turn(6)
    assert "[동작 중]" in plate.operate.progress.text()
    notes = ready.view.ui.recorder = []
    ready.view.diagram.grab()
    ready.view.ui.recorder = None
    assert any(note.text.startswith("동작 중 100 kW") for note in notes)
    ready.core.move("confirmed")
    ready.turn(6)
    assert "[동작 확인됨]" in plate.operate.progress.text()


@pytest.mark.parametrize("focus", ["value", "reason", "execute", "cancel", "accept"])
def test_enter_never_executes(ready, focus):
    plate = checked(ready)
    assert plate.operate.execute.isEnabled()
    QTest.keyClick(getattr(plate.operate, focus), Qt.Key.Key_Return)
    QTest.keyClick(getattr(plate.operate, focus), Qt.Key.Key_Enter)
    ready.settle()
    assert ("command", "execute") not in ready.core.asked


def test_the_wheel_never_writes(ready):
    plate = checked(ready)
    for widget in (plate.operate.value, plate, plate.operate.execute):
        event = QWheelEvent(QPointF(5, 5), QPointF(5, 5), QPointF(0, 120).toPoint(), QPointF(0, 120).toPoint(),
                            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
                            False)  # fmt: skip
        widget.wheelEvent(event)
    assert plate.operate.value.text() == "100"
    assert ready.desk.procedure.stage is Stage.CHECKED


def test_arrows_step_by_one_percent_and_the_value_must_be_checked_anew(ready):
    plate = checked(ready)
    QTest.keyClick(plate.operate.value, Qt.Key.Key_Up)
    assert plate.operate.value.text() == "110"
    assert ready.desk.procedure.stage is Stage.SELECTED
    assert not plate.operate.execute.isVisible()


@pytest.mark.parametrize(("typed", "said"), [("", "값을 입력"), ("abc", "숫자가 아닙니다"), ("5 MW", "단위가 맞지"),
                                             ("9999", "허용 -500 kW … 500 kW")])  # fmt: skip
def test_a_value_that_cannot_be_is_told_in_the_units_of_the_screen(ready, typed, said):
    plate = checked(ready, typed)
    assert said in words(plate)
    assert ready.desk.procedure.stage is Stage.SELECTED


def test_warnings_and_reason_are_asked_for(ready):
    plate = checked(ready, "300")
    assert "경고" in plate.operate.notes.text()
    plate.operate.accept.setChecked(False)
    assert not plate.operate.execute.isEnabled()
    assert "경고" in plate.operate.execute.toolTip()
    plate.operate.accept.setChecked(True)
    plate.operate.reason.clear()
    ready.turn(1)
    assert not plate.operate.execute.isEnabled()
    assert "사유" in plate.operate.missing.text()


def test_a_stale_value_on_the_screen_is_no_ground_to_operate_on(ready):
    plate = checked(ready)
    ready.city.mute.add("jincheon.ess1.discharge_w")
    ready.turn(25)
    assert "오래" in plate.operate.missing.text()
    assert not plate.operate.execute.isEnabled()
    plate.operate._execute()
    ready.settle()
    assert ("command", "execute") not in ready.core.asked


def test_the_core_s_refusals_are_read_at_the_faceplate(ready):
    plate = checked(ready)
    ready.core.values["jincheon.ess1.discharge_w"] = 12_345.0
    plate.operate.execute.click()
    ready.settle()
    assert "그 사이 바뀌었습니다" in words(plate)


def test_the_name_must_be_typed_again_for_the_breaker(ready):
    plate = faceplate(ready, "breaker")
    plate.operate.select.click()
    ready.settle()
    assert not plate.operate.value.isVisible(), "a switch has no number to type"
    assert [one.text() for one in plate.operate.choices if one.isVisible()] == ["열림", "닫힘"]
    plate.operate.choices[0].click()
    ready.settle()
    plate.operate.reason.setText("정전 작업")
    ready.turn(1)
    assert "닫힘" in plate.operate.change.text()
    assert "열림" in plate.operate.change.text()
    assert not plate.operate.execute.isEnabled()
    QTest.keyClicks(plate.operate.retype, "grid.breaker.close_command")
    ready.turn(1)
    assert plate.operate.execute.isEnabled()
    plate.operate.execute.click()
    ready.settle()
    sent = next(one for one in ready.core.messages if one["op"] == "execute")
    assert (sent["value"], sent["seen_value"], sent["retyped"]) == (0.0, 1.0, "grid.breaker.close_command")


def test_a_point_that_another_console_has_selected_is_outlined_and_cannot_be_selected(ready, fake, site):
    checked(ready)
    there = fake.build(1366, 768, site=site, core=ready.core, console="console-2")
    there.turn(3)
    there.sign_in("박산")
    there.desk.request("session", "take_area", "areas.taken", area="jincheon", reason="교대", force=True)
    there.turn(15)
    ready.turn(12)
    assert there.view.diagram._marks[ESS].reserved == "other"
    assert ready.view.diagram._marks[ESS].reserved == "own"
    plate = faceplate(there)
    assert not plate.operate.select.isEnabled()
    assert "김하늘" in plate.operate.select.toolTip()
    there.view.close()


def test_the_second_person_confirms_at_the_other_console(ready, fake, site):
    ready.core.points[POINT].two_person = True
    plate = checked(ready)
    plate.operate.execute.click()
    ready.turn(6)
    assert "두 번째 사람" in words(plate)
    assert not plate.operate.second.isVisible()
    there = fake.build(1366, 768, site=site, core=ready.core, console="console-2")
    there.turn(3)
    there.sign_in("박산")
    there.turn(15)
    other = faceplate(there)
    assert other.operate.second.isVisible()
    other.operate.second.click()
    there.turn(6)
    ready.turn(6)
    assert "[수락]" in words(plate)
    there.view.close()


def test_nothing_is_operated_while_the_core_is_silent(ready):
    plate = checked(ready)
    assert plate.operate.execute.isEnabled()
    ready.silent(60)
    assert not plate.operate.execute.isEnabled()
    plate.operate._cancel()
    ready.silent(3)
    assert not plate.operate.select.isEnabled()
    assert "연결이 끊겨" in plate.operate.select.toolTip()
    assert any("경보를 알 수 없음" in one for one in painted(ready, ready.view.banner))


def test_leaving_the_faceplate_gives_the_selection_back(ready):
    plate = checked(ready)
    press(plate, Qt.Key.Key_Escape)
    ready.settle()
    assert ready.core.selected == {}


def test_what_a_person_took_is_given_back_to_automatic_control(ready):
    held = "control.ess1.discharge_setpoint_w"
    ready.core.holds = [{"point": held, "author": "박산", "until_mono_ns": 2**60}]
    ready.turn(25)
    plate = faceplate(ready)
    assert "박산" in plate.operate.held.text()
    plate.operate.give_back.click()
    assert "사유" in words(plate)
    assert ready.core.holds
    plate.operate.reason.setText("시험 끝")
    plate.operate.give_back.click()
    ready.turn(25)
    assert ready.core.holds == []
    assert not plate.operate.give_back.isVisible()


def test_an_area_is_taken_by_force_only_with_a_reason(ready):
    ready.sign_in("박산")
    other = next(iter(ready.core.sessions.values()))
    ready.core._give(ready.core.areas["jincheon"], type(other)("김하늘", "operator", "77", "console-2"))
    ready.turn(12)
    ready.view.console.open_areas()
    sheet = ready.view.console.areas
    row = sheet._rows[[one.area_id for one in ready.desk.areas].index("jincheon")]
    assert row.first.text() == "강제 인수"
    row.first.click()
    ready.turn(12)
    assert ready.core.areas["jincheon"]["holder"] == "김하늘"
    sheet._reason.setText("응답 없음")
    row.first.click()
    ready.turn(12)
    assert ready.core.areas["jincheon"]["holder"] == "박산"


# --------------------------------------------------------------------------------------------------------------- marks


def test_a_value_is_substituted_with_reason_and_end(ready):
    plate = faceplate(ready)
    plate.tabs["override"].click()
    plate.override.value.setText("50")
    plate.override.put.click()
    assert "사유" in words(plate)
    plate.override.reason.setText("계측기 교체")
    plate.override.put.click()
    ready.turn(25)
    kept = ready.core.overridden[0]
    assert (kept["point"], kept["value"], kept["left_s"]) == ("jincheon.ess1.discharge_w", 50_000.0, 3_600.0)
    assert "김하늘" in plate.marks.text()
    at = ready.view.diagram._columns[3].center()
    assert "계측기 교체" in ready.view.diagram.hint_at(at)
    plate.override.restore.click()
    ready.turn(25)
    assert ready.core.overridden == []


def test_a_substituted_value_carries_its_mark_and_a_doubtful_time_its_own(ready):
    def marked():
        notes = ready.view.ui.recorder = []
        ready.view.diagram.grab()
        ready.view.ui.recorder = None
        return [note.text for note in notes if note.text in ("M", "T")]

    assert marked() == []
    ready.city.marked = {"jincheon.ess1.discharge_w": int(Quality.SUBSTITUTED), "grid.tie.import_w": int(Quality.TIME)}
    ready.turn(2)
    assert sorted(marked()) == ["M", "T"]


def test_a_danger_tag_is_hung_shown_and_forbids(ready):
    plate = faceplate(ready)
    plate.tabs["tagging"].click()
    plate.tagging.reason.setText("작업자 투입")
    plate.tagging.put.click()
    ready.turn(25)
    assert ready.core.safety[0]["kind"] == "danger"
    assert ready.core.safety[0]["scope"] == ESS
    assert ready.view.diagram._marks[ESS].tag == "danger"
    plate.tabs["operate"].click()
    assert not plate.operate.select.isEnabled()
    assert "꼬리표" in plate.operate.select.toolTip()
    plate.tabs["tagging"].click()
    plate.tagging.reason.setText("작업 끝")
    plate.tagging.rows[0][1].click()
    ready.turn(25)
    assert ready.core.safety == []


# -------------------------------------------------------------------------------------------------------------- alarms


def row_of(change):
    return {"kind": "alarm", "alarm": change.to_map(), "sound": "x"}


def group_of(screen, ids, **more):
    first = screen.live.alarms.get(ids[0])
    return {"kind": "group", "sound": "", "group": {
        "id": "cb07", "name_ko": "차단기 7", "name_en": "Breaker 7", "candidate": "cb07", "cause_ko": "차단기 7",
        "cause_en": "breaker 7", "n": len(ids), "n_unacknowledged": len(ids), "priority": 3, "by_priority": [0] * 4,
        "first_out": {"alarm_id": first.alarm_id, "text_ko": first.text_ko, "text_en": first.text_en,
                      "onset_utc_ns": first.utc_ns}, "urgent": [], "alarm_ids": list(ids), "sequence": 77, **more,
    }}  # fmt: skip


@pytest.fixture
def flooded(ready, fake):
    """Forty alarms, presented as one urgent one and a group."""
    fake.storm(ready, 40)
    ready.turn(3)
    standing = ready.live.alarms.ordered()
    ready.core.rows = [row_of(standing[0]), group_of(ready, [one.alarm_id for one in standing[1:]])]
    ready.core.flood, ready.core.n_active = True, 40
    ready.core.banner = ("홍수 40건 · 원인 후보 차단기 7", "Flood of 40 · possible cause breaker 7")
    ready.turn(60)
    return ready


def painted(screen, widget):
    notes = screen.view.ui.recorder = []
    widget.grab()
    screen.view.ui.recorder = None
    return [note.text for note in notes]


def test_a_flood_is_one_urgent_alarm_and_one_group_on_the_banner(flooded):
    texts = painted(flooded, flooded.view.banner)
    assert any("홍수 40건" in one for one in texts)
    assert any("39건 묶음" in one for one in texts)
    assert [row.priority for row in flooded.view.banner.rows()] == [1, 3]


def test_a_group_opens_and_closes(flooded):
    press(flooded.view, Qt.Key.Key_A)
    sheet = flooded.view.console.alarms
    assert len(sheet.table.rows) == 2
    sheet.table.choose(1)
    press(sheet.table, Qt.Key.Key_Right)
    assert len(sheet.table.rows) == 41
    press(sheet.table, Qt.Key.Key_Left)
    assert len(sheet.table.rows) == 2


def test_space_takes_the_urgent_one_alone_then_the_group(flooded):
    urgent = flooded.live.alarms.ordered()[0]
    press(flooded.view, Qt.Key.Key_Space)
    flooded.settle()
    assert [(one["op"], one.get("alarm_id")) for one in flooded.core.done] == [("ack", urgent.alarm_id)]
    assert flooded.core.done[0]["seen_sequence"] == urgent.sequence
    acked = replace(urgent, state="ack_active", sequence=urgent.sequence + 10_000)
    flooded.city.send_alarm(acked)
    flooded.turn(3)
    press(flooded.view, Qt.Key.Key_Space)
    flooded.settle()
    assert (flooded.core.done[1]["op"], flooded.core.done[1]["group"]) == ("ack_group", "cb07")
    assert flooded.core.done[1]["seen_sequence"] == 77


def test_a_group_with_an_urgent_alarm_is_never_acknowledged_as_one(flooded):
    ids = [one.alarm_id for one in flooded.live.alarms.ordered()]
    flooded.core.rows = [group_of(flooded, ids, priority=1)]
    flooded.turn(15)
    press(flooded.view, Qt.Key.Key_A)
    sheet = flooded.view.console.alarms
    press(sheet, Qt.Key.Key_Space)
    sheet.table.choose(0)
    assert not sheet.ack.isEnabled()
    assert "하나씩" in sheet.ack.toolTip()
    flooded.settle()
    assert flooded.core.done == []


def test_an_urgent_alarm_is_shown_even_when_an_older_answer_leaves_it_out(flooded, fake):
    flooded.core.rows = flooded.core.rows[1:]
    flooded.turn(15)
    assert flooded.view.banner.rows()[0].priority == 1


def test_only_what_is_in_sight_is_acknowledged(ready, fake):
    for number in range(60):
        now = ready.city.clock.utc_ns() + number
        ready.city.send_alarm(fake.alarm(number, 3, "unack_active", f"city.lamps.{number}", "고장", "fault", 1.0, "",
                                         float("nan"), now))  # fmt: skip
    ready.turn(4)
    press(ready.view, Qt.Key.Key_A)
    table = ready.view.console.alarms.table
    ready.turn(2)
    visible = [row.key for row in table.visible_rows()]
    assert 5 < len(visible) < 60
    press(ready.view.console.alarms, Qt.Key.Key_Space)
    ready.settle()
    assert sorted(ready.acknowledged) == sorted(visible)


def test_shelving_wants_a_reason_and_says_for_how_long(ready, fake):
    fake.trouble(ready)
    ready.turn(4)
    press(ready.view, Qt.Key.Key_A)
    sheet = ready.view.console.alarms
    sheet.table.choose(1)
    sheet.shelve.click()
    assert sheet.form.isVisible()
    sheet.form.go.click()
    assert ready.core.shelf == []
    assert "사유" in words(sheet)
    sheet.form.reason.setText("부품 대기")
    sheet.form.time.choose(0)
    sheet.form.go.click()
    ready.turn(25)
    assert (ready.core.shelf[0]["left_s"], ready.core.shelf[0]["reason"]) == (600.0, "부품 대기")
    sheet.tabs["shelved"].click()
    assert "부품 대기" in words(sheet)
    assert "보류·제외 1" in sheet.tabs["shelved"].text()


def test_an_urgent_alarm_is_shelved_by_a_supervisor_only(ready, fake):
    fake.trouble(ready)
    ready.turn(4)
    press(ready.view, Qt.Key.Key_A)
    sheet = ready.view.console.alarms
    sheet.table.choose(0)
    assert sheet.table.chosen_row().priority == 1
    assert not sheet.shelve.isEnabled()
    assert not sheet.service.isEnabled()
    ready.sign_in("박산")
    sheet.refresh()
    assert sheet.shelve.isEnabled()
    assert sheet.service.isEnabled()


def test_only_a_latched_alarm_is_reset(ready, fake):
    fake.trouble(ready)
    ready.turn(4)
    press(ready.view, Qt.Key.Key_A)
    sheet = ready.view.console.alarms
    sheet.table.choose(1)
    assert not sheet.reset.isVisible()
    change = sheet.table.chosen_row().alarm
    ready.city.send_alarm(replace(change, state="latched", sequence=change.sequence + 1))
    ready.turn(8)
    at = [row.key for row in sheet.table.rows].index(change.alarm_id)
    sheet.table.choose(at)
    assert sheet.reset.isVisible()
    sheet.reset.click()
    ready.settle()
    assert ready.core.done[-1]["op"] == "reset"


def test_the_first_of_a_group_is_marked(ready, fake):
    fake.trouble(ready)
    ready.turn(4)
    change, second = ready.live.alarms.ordered()[:2]
    ready.city.send_alarm(replace(change, first_out=True, group="cb07", sequence=change.sequence + 1))
    ready.turn(4)
    assert "최초" not in painted(ready, ready.view.banner), "it stands alone"
    ready.city.send_alarm(replace(second, group="cb07", sequence=second.sequence + 1))
    ready.turn(4)
    assert "최초" in painted(ready, ready.view.banner)
    ready.view.toggle_language()
    assert "1st" in painted(ready, ready.view.banner)


def test_a_hidden_alarm_stands_nowhere_but_its_device_says_so(ready, fake):
    fake.trouble(ready)
    ready.turn(4)
    change = next(one for one in ready.live.alarms.ordered() if one.source == "eumseong.wind1.online")
    ready.city.send_alarm(replace(change, state="out_of_service", sequence=change.sequence + 1))
    ready.turn(6)
    assert change.alarm_id not in [one.alarm_id for one in ready.live.alarms.ordered()]
    assert "제외" in painted(ready, ready.view.diagram)


def test_nobody_signed_in_acknowledges_nothing_and_is_told(screen, fake):
    screen.turn(3)
    fake.trouble(screen)
    screen.turn(4)
    press(screen.view, Qt.Key.Key_Space)
    screen.turn(2)
    assert screen.core.done == []
    assert any("로그인이 필요합니다" in one for one in painted(screen, screen.view.header))


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_no_instruction_of_the_site_is_cut_on_the_banner(application, fake, site, size, lang):
    screen = fake.build(*size, lang, site)
    screen.turn(2)
    banner, ui = screen.view.banner, screen.view.ui
    room = banner._rooms(QRectF(banner._rows[0].rect))["response"]
    cut = []
    for one in (*site.alarms, *site.event_alarms):
        text = one.texts.response_ko if lang == "ko" else one.texts.response_en
        ink = Ink(None, ui.style)
        lines = int((room.height() + 4) // ui.style.line_height("small"))
        if ink.broken(text, "small", room.width(), min(2, lines)) is None:
            cut.append(text)
    screen.view.close()
    assert not cut, "\n".join(cut)


# ---------------------------------------------------------------------------------------------------------------- fits


def moments(screen, fake):
    """Every sheet in the states in which it says most."""
    console = screen.view.console
    console.open_sign_in()
    yield "nobody", console.sign_in
    console.sign_in.leave()
    screen.sign_in(areas=("jincheon", "microgrid"))
    console.open_sign_in()
    yield "signed in", console.sign_in
    console.sign_in.leave()
    console.open_areas()
    yield "areas", console.areas
    console.areas.leave()
    screen.core.points[POINT].retype = True
    screen.core.points[POINT].interlocks = [
        {"id": "hot", "text_ko": "배터리 온도가 45 °C를 넘음", "text_en": "battery hotter than 45 °C", "blocks": False}
    ]
    plate = checked(screen, "300")
    yield "checked", plate
    screen.core.points[POINT].retype = False
    plate = checked(screen, "120")
    plate.operate.execute.click()
    screen.turn(6)
    yield "running", plate
    screen.core.move("timed_out")
    screen.turn(6)
    yield "timed out", plate
    for page in ("override", "tagging"):
        plate.page = page
        plate.refresh()
        yield page, plate
    plate.leave()
    fake.trouble(screen)
    screen.turn(5)
    console.toggle_alarms()
    console.alarms.table.choose(0)
    yield "alarms", console.alarms
    console.alarms.form.begin("shelve")
    yield "shelve", console.alarms
    console.alarms.form.end()
    screen.core.alarms_shelve({"session": next(iter(screen.core.sessions)), "alarm_id": "fake-1", "reason": "부품 대기",
                               "for_s": 1_800.0})  # fmt: skip
    screen.turn(25)
    console.alarms.page = "shelved"
    console.alarms.refresh()
    yield "shelved", console.alarms


def faults_of(sheet):
    """Widgets that are cut, or lie outside of the sheet or the window."""
    found = []
    window = sheet.parentWidget()
    if not window.rect().contains(sheet.geometry()):
        found.append(f"the sheet {sheet.geometry()} leaves the window {window.rect()}")
    for widget in sheet.findChildren(QLabel) + sheet.findChildren(QPushButton):
        if not widget.isVisible() or not widget.text():
            continue
        room = widget.contentsRect()
        if isinstance(widget, QLabel) and widget.wordWrap():
            needed = widget.heightForWidth(widget.width())
            if needed > widget.height() + 2:
                found.append(f"{widget.text()!r} needs {needed} of {widget.height()} px of height")
            continue
        wide = max(widget.fontMetrics().horizontalAdvance(line) for line in widget.text().split("\n"))
        if wide > room.width() + 1:
            found.append(f"{widget.text()!r} needs {wide} of {room.width()} px")
        inside = sheet.rect().contains(widget.mapTo(sheet, widget.rect().bottomRight()))
        if not inside:
            found.append(f"{widget.text()!r} lies outside of the sheet")
    return found


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_every_sheet_fits(application, fake, site, size, lang):
    screen = fake.build(*size, lang, site)
    screen.turn(6)
    faults = []
    for name, sheet in moments(screen, fake):
        screen.turn(2)
        application.sendPostedEvents()
        screen.turn(1)
        application.sendPostedEvents()
        faults += [f"{name}: {fault}" for fault in faults_of(sheet)]
    screen.view.close()
    assert not faults, "\n".join(faults)
