"""The command: pictures of a running city, and one clear line for everything else."""

import dataclasses
import logging
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PySide6.QtGui import QImage

from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.tags.store import TagStore
from gwanje.hmi import main as hmi_main
from gwanje.hmi.probe import WindowProbe


@pytest.fixture
def quick(monkeypatch):
    """No long waits for values that a test does not send."""
    monkeypatch.setattr(hmi_main, "ARRIVE_WITHIN_NS", 3_000_000_000)
    monkeypatch.setattr(hmi_main, "SETTLE_NS", 300_000_000)


@pytest.fixture
def city(tmp_path, site, fake):
    """A store with a value of every tag, as a running city has."""
    clock = SystemClock()
    store = TagStore.create(tmp_path / "tags", site.tags)
    values = fake.FakeCity(site, VirtualClock()).values()
    for owner in site.tags.ranges:
        writer = store.writer(owner)
        ids = site.tags.by_owner(owner)
        numbers = np.array([values.get(site.tags.by_id(int(one)).name, 1.0) for one in ids])
        times = np.full(len(ids), clock.utc_ns(), np.int64)
        writer.write(ids, numbers, np.zeros(len(ids), np.uint16), times, clock.mono_ns())
        writer.close()
    return tmp_path


def test_a_picture_of_a_running_city(quick, city, site, application, capsys):
    picture = city / "out.png"
    assert hmi_main.run_hmi(site, city, "overview", (1366, 768), "en", picture) == 0
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (1366, 768)
    said = capsys.readouterr()
    assert "out.png: 1366x768" in said.out
    assert "every value is there; trends and spectrogram fill for 0.3 s" in said.err
    assert "no value" not in said.err


def test_no_city_is_one_line_and_exit_code_2(tmp_path, site, application, capsys):
    assert hmi_main.run_hmi(site, tmp_path, "overview", (800, 600), "ko", tmp_path / "out.png") == 2
    assert capsys.readouterr().err == "gwanje: no running city found; start one with `gwanje up`\n"


def test_an_unknown_display_names_those_there_are(city, site, application, capsys):
    assert hmi_main.run_hmi(site, city, "nothing", (800, 600), "ko", city / "out.png") == 1
    assert capsys.readouterr().err == "gwanje: no display 'nothing'; the site has overview\n"


def test_a_wrong_display_is_told_with_file_and_line(city, site, application, capsys):
    (city / "displays").mkdir()
    (city / "displays" / "overview.toml").write_text("format = 1\nbroken = 2\n", encoding="utf-8")
    other = dataclasses.replace(site, root=city)
    assert hmi_main.run_hmi(other, city, "overview", (800, 600), "ko", city / "out.png") == 1
    assert "overview.toml:2: broken: unknown key" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_told(quick, city, site, application, capsys):
    assert hmi_main.run_hmi(site, city, "overview", (640, 480), "ko", city / "none" / "out.png") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_values_that_never_come_are_named_and_the_picture_is_written_all_the_same(
    quick, tmp_path, site, application, capsys
):
    TagStore.create(tmp_path / "tags", site.tags)
    picture = tmp_path / "out.png"
    assert hmi_main.run_hmi(site, tmp_path, "overview", (640, 480), "ko", picture) == 0
    assert picture.exists()
    said = capsys.readouterr().err
    assert "no value within 3 s: grid.tie.frequency_hz" in said
    assert said.count("waiting for ") >= 2, "once a second it is said what is waited for"


def test_without_a_display_no_window_is_tried(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert WindowProbe().trouble() == "no display on this machine"


def test_a_display_that_is_not_there_is_told_and_nothing_dies(monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    assert WindowProbe().trouble().startswith("no window can be opened")


def test_a_platform_that_works_is_no_trouble(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert WindowProbe().trouble() == ""


@pytest.fixture
def context(city, site):
    """What the supervisor gives the part, and the descriptor that asks it to stop."""
    clock = SystemClock()
    stop, ask = os.pipe()
    bus = Bus(city, "hmi", clock, site.tags.n)
    beat = Heartbeat(city, "hmi")
    store = TagStore.attach(city / "tags", site.tags)
    log = logging.getLogger("hmi")
    yield PartContext("hmi", site, site.tags, store, clock, bus, city, RunOptions(lang="en"), stop, log, beat), ask
    bus.close()
    os.close(stop)
    os.close(ask)


def test_the_part_without_a_display_says_so_once_and_lives_on_until_it_is_asked_to_stop(context, monkeypatch, caplog):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    ctx, ask = context
    thread = threading.Thread(target=hmi_main.main, args=(ctx,))
    thread.start()
    while not ctx.beat.last_mono_ns() and thread.is_alive():
        thread.join(0.01)
    assert thread.is_alive()
    os.write(ask, b"x")
    thread.join(20)
    assert not thread.is_alive()
    (record,) = [one for one in caplog.records if one.name == "hmi"]
    assert "no display on this machine" in record.getMessage()


@pytest.mark.parametrize("alive", [True, False])
def test_the_heart_beats_only_while_the_receiver_lives(context, alive):
    ctx, _ask = context
    hmi_main._look_after(ctx, SimpleNamespace(alive=alive))
    assert bool(ctx.beat.last_mono_ns()) is alive


def test_the_part_shows_the_overview_and_leaves_when_asked(context, application, monkeypatch, caplog):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    ctx, ask = context
    shown = []

    def look(part, screen):
        ctx.beat.beat(ctx.clock.mono_ns())
        shown.append(screen.view)
        if screen.view.complete():
            os.write(ask, b"x")
        original(part, screen)

    original = hmi_main._look_after
    monkeypatch.setattr(hmi_main, "_look_after", look)
    hmi_main.main(ctx)
    assert shown
    assert shown[0].complete()
    assert ctx.stopping()
    assert ctx.beat.last_mono_ns() > 0
