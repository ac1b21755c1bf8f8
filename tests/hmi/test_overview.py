"""The whole screen on a fake city: ink in every panel, marks, keys, languages, no growth."""

import gc
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QImage, QKeyEvent, QMouseEvent

from gwanje.hmi.schedule import FRAME_NS


def pixels(widget):
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return data[:, : image.width(), :3].astype(int)


def colour_share(widget, style, token):
    """Share of a widget's pixels that have a token's colour."""
    color = style.color(token)
    wanted = np.array([color.blue(), color.green(), color.red()])
    return float((np.abs(pixels(widget) - wanted).sum(axis=2) < 12).mean())


def press(widget, key, text=""):
    event = QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier, text)
    widget.keyPressEvent(event)


def test_every_panel_is_drawn(screen):
    screen.turn(30)
    ground = screen.view.ui.style.color("panel")
    base = np.array([ground.blue(), ground.green(), ground.red()])
    for name, panel in screen.view.panels.items():
        shown = pixels(panel)
        ink = (np.abs(shown - base).sum(axis=2) > 60).mean()
        assert ink > 0.004, f"{name} is nearly blank: {ink:.4f}"
        assert panel.width() > 100


def test_panels_do_not_overlap_and_fill_the_window(screen):
    rects = [panel.geometry() for panel in screen.view.panels.values()]
    for index, one in enumerate(rects):
        assert screen.view.rect().contains(one)
        assert not any(one.intersects(other) for other in rects[index + 1 :])
    covered = sum(rect.width() * rect.height() for rect in rects)
    assert covered > 0.93 * screen.view.width() * screen.view.height()


def test_where_all_is_normal_there_is_no_colour(screen):
    screen.turn(30)
    style = screen.view.ui.style
    for token in ("p1", "p2", "p3", "p4", "lost"):
        for panel in screen.view.panels.values():
            assert colour_share(panel, style, token) < 1e-4, token


def test_an_urgent_alarm_colours_banner_indicator_and_diagram(screen, fake):
    screen.turn(5)
    fake.trouble(screen)
    screen.turn(5)
    style = screen.view.ui.style
    for name in ("banner", "indicators", "diagram"):
        assert colour_share(screen.view.panels[name], style, "p1") > 1e-4, name
    assert colour_share(screen.view.map, style, "p2") > 1e-4


def test_every_main_value_arrives(screen):
    assert not screen.view.complete()
    screen.turn(3)
    missing = [
        quantity.expression.text
        for bindings in screen.view.bindings()
        for quantity, shown in zip(bindings.quantities, bindings.shown, strict=True)
        if not shown.available
    ]
    assert not missing
    assert screen.view.complete()


def test_a_lost_link_marks_every_value_and_says_for_how_long(screen):
    screen.turn(20)
    assert not any(shown.doubtful for bindings in screen.view.bindings() for shown in bindings.shown)
    screen.silent(120)
    assert all(shown.doubtful for bindings in screen.view.bindings() for shown in bindings.shown)
    notes = screen.view.ui.recorder = []
    screen.view.header.grab()
    screen.view.ui.recorder = None
    assert any("연결 끊김 12 s" in note.text for note in notes)
    assert colour_share(screen.view.header, screen.view.ui.style, "lost") > 0.02
    screen.turn(15)
    assert not any(shown.doubtful for bindings in screen.view.bindings() for shown in bindings.shown)
    assert colour_share(screen.view.header, screen.view.ui.style, "lost") == 0.0


def test_only_the_silent_device_is_marked_when_one_falls_silent(screen):
    screen.turn(20)
    screen.city.mute.add("eumseong.wind1.generation_w")
    screen.turn(10)
    bindings = screen.view.diagram.bindings
    shown = {
        quantity.expression.text: one.doubtful
        for quantity, one in zip(bindings.quantities, bindings.shown, strict=True)
    }
    assert shown["eumseong.wind1.generation_w"]
    assert sum(shown.values()) == 1


def test_simulated_is_said_as_soon_as_a_simulated_value_is_shown(screen):
    assert not screen.view.header.simulated
    screen.turn(15)
    assert screen.view.header.simulated
    notes = screen.view.ui.recorder = []
    screen.view.header.grab()
    screen.view.diagram.grab()
    screen.view.ui.recorder = None
    words = [note.text for note in notes]
    assert any("SIMULATED" in word for word in words)
    assert words.count("모의") == len(screen.live.display.elements)


def test_the_language_changes_at_run_time(screen):
    screen.turn(10)
    before = pixels(screen.view)
    press(screen.view, Qt.Key.Key_L)
    assert screen.view.ui.texts.lang == "en"
    assert (pixels(screen.view) != before).any()
    assert screen.view.windowTitle() == screen.live.site.name_en
    press(screen.view, Qt.Key.Key_L)
    assert screen.view.ui.texts.lang == "ko"


def test_microphones_are_chosen_by_key_and_click(screen):
    screen.turn(10)
    press(screen.view, Qt.Key.Key_N)
    assert screen.view.acoustic.node == 1
    press(screen.view, Qt.Key.Key_8)
    assert screen.view.acoustic.node == 7
    press(screen.view, Qt.Key.Key_N)
    assert screen.view.acoustic.node == 0
    press(screen.view, Qt.Key.Key_9)
    assert screen.view.acoustic.node == 0
    chip = screen.view.acoustic._chips[4].rect.center()
    click(screen.view.acoustic, QPointF(chip))
    assert screen.view.acoustic.node == 4
    node = screen.live.site.nodes[2]
    click(screen.view.map, screen.view.map._point(node.x_m, node.y_m))
    assert screen.view.acoustic.node == 2


def test_the_spectrogram_follows_what_is_heard_until_the_operator_chooses(screen):
    screen.turn(3)
    screen.city.send_sound("mic06", "scream", 0.9, 0.5)
    screen.turn(4)
    assert screen.view.acoustic.node == 5
    press(screen.view, Qt.Key.Key_2)
    screen.city.send_sound("mic04", "scream", 0.9, 0.5)
    screen.turn(4)
    assert screen.view.acoustic.node == 1


def click(widget, at):
    left = Qt.MouseButton.LeftButton
    widget.mousePressEvent(
        QMouseEvent(QEvent.Type.MouseButtonPress, at, at, left, left, Qt.KeyboardModifier.NoModifier)
    )


def test_space_acknowledges_what_is_in_sight_and_nothing_else(screen, fake):
    screen.turn(3)
    fake.storm(screen, 50)
    screen.turn(2)
    press(screen.view, Qt.Key.Key_Space)
    screen.settle()
    assert screen.acknowledged == [], "nobody is signed in"
    assert screen.desk.notice.key == "why.signed_out"
    screen.sign_in()
    press(screen.view, Qt.Key.Key_Space)
    screen.settle()
    urgent = screen.live.alarms.ordered()[0]
    assert screen.acknowledged == [urgent.alarm_id], "an urgent alarm is acknowledged alone"
    screen.city.send_alarm(replace(urgent, state="ack_active", sequence=urgent.sequence + 10_000))
    screen.turn(4)
    press(screen.view, Qt.Key.Key_Space)
    screen.settle()
    shown = [one.alarm_id for one in screen.live.alarms.ordered()[1:3]]
    assert sorted(screen.acknowledged[1:]) == sorted(shown), "then what is in sight, and nothing below"


def test_in_a_storm_of_5000_the_urgent_alarm_is_on_the_screen(screen, fake):
    screen.turn(3)
    fake.storm(screen)
    screen.turn(4)
    assert len(screen.live.alarms.ordered()) == 5_000
    notes = screen.view.ui.recorder = []
    screen.view.banner.grab()
    screen.view.ui.recorder = None
    assert any("2500" in note.text for note in notes)


def test_the_time_axis_can_be_chosen(screen):
    screen.turn(20)
    widths = []
    for _ in range(9):
        begin, until = screen.view.balance._window()
        widths.append(until - begin)
        press(screen.view, Qt.Key.Key_T)
    assert widths[0] == 300
    assert widths[1:] == [300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400]


def test_a_spectrogram_moves_on_in_silence_until_it_is_blank(screen):
    screen.turn(110)
    plot = screen.view.acoustic._spectrum.rect
    low = screen.view.ui.style.color("spectrum_low")
    blank = np.array([low.blue(), low.green(), low.red()])

    def heard():
        shown = pixels(screen.view.acoustic)[plot.top() + 3 : plot.bottom() - 3, plot.left() + 3 : plot.right() - 3]
        return float((np.abs(shown - blank).sum(axis=2) > 24).mean())

    full = heard()
    for _ in range(60):
        screen.city.send_scan()
        screen.silent(1)
    part = heard()
    for _ in range(80):
        screen.city.send_scan()
        screen.silent(1)
    assert full > 0.5
    assert 0.1 < part < full
    assert heard() == 0.0


def test_hidden_panels_do_not_work(screen):
    screen.turn(5)
    screen.view.hide()
    before = screen.view.balance.curves.generation
    screen.turn(5)
    assert screen.view.balance.curves.generation == before


def test_the_window_can_take_any_size(screen):
    screen.turn(3)
    for width, height in ((640, 480), (3840, 2160), (1280, 1024), (1920, 1080)):
        screen.view.resize(width, height)
        screen.turn(1)
        assert pixels(screen.view).shape[:2] == (height, width)


def test_events_and_alarms_of_a_core_that_came_back_are_taken_over(screen, fake):
    from gwanje.hmi.link import Memory

    event = fake.Event("system", "core", "x", 1, 1, "글", "text")
    change = fake.alarm(1, 2, "unack_active", "mic01", "글", "text", 0.9, "", float("nan"), 5)
    screen.live.inbox.put_memory(Memory((change,), (event,)))
    screen.frames.tick()
    screen.city.advance(FRAME_NS)
    screen.frames.tick()
    assert screen.live.alarms.ordered() == [change]
    assert [(line.utc_ns, line.priority) for line in screen.live.events.lines] == [(5, 2), (1, 0)]


@pytest.mark.timeout(300)
def test_screens_that_come_and_go_leave_nothing(application, fake, site):
    """Twenty screens built, drawn and closed: less than 12 MB more than after the first five."""
    process, sizes = psutil.Process(), []
    for _ in range(25):
        screen = fake.build(1366, 768, site=site)
        screen.turn(2)
        screen.picture()
        screen.frames.deleteLater()
        screen.view.close()
        screen.view.deleteLater()
        del screen
        application.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        gc.collect()
        sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[4] < 12_000_000


def test_of_two_hundred_microphones_the_chosen_page_is_shown(fake, application, site):
    first = site.nodes[0]
    names = [f"mic{number:03}" for number in range(1, 201)]
    nodes = tuple(
        replace(first, name=name, x_m=number % 20 * 60.0, y_m=number // 20 * 60.0) for number, name in enumerate(names)
    )
    screen = fake.build(site=replace(site, nodes=nodes))
    screen.view.ui.recorder = written = []
    screen.turn(3)
    acoustic = screen.view.acoustic
    n = len(acoustic._chips)
    assert 8 <= n <= 40
    acoustic.choose(150)
    screen.turn(3)
    screen.picture()
    texts = {one.text for one in written}
    assert any(text.startswith("151") for text in texts)
    assert screen.city.receiver.topics == {"spectrum.mic151"}
    assert acoustic._first_chip <= 150 < acoustic._first_chip + n
    at = QPointF(acoustic._chips[2].rect.center())
    acoustic.choose(0)
    acoustic.mousePressEvent(
        QMouseEvent(QEvent.Type.MouseButtonPress, at, at, Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton,
                    Qt.KeyboardModifier.NoModifier)
    )  # fmt: skip
    assert acoustic.node == 2
    city_map = screen.view.panels["map"]
    place = city_map._point(nodes[77].x_m, nodes[77].y_m)
    city_map.mousePressEvent(
        QMouseEvent(QEvent.Type.MouseButtonPress, place, place, Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton,
                    Qt.KeyboardModifier.NoModifier)
    )  # fmt: skip
    assert acoustic.node == 77
    screen.view.close()
