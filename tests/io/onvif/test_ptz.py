"""When drives are told what, and which preset has which number. Pure."""

from __future__ import annotations

import random

import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.onvif.messages import Position, Preset
from gwanje.io.field.onvif.ptz import Drives, Halt, Move, numbered, preset_at
from gwanje.io.sim.city.cameras_ptz import Turret

MS = 1_000_000


def test_a_speed_is_told_refreshed_and_stopped():
    drives = Drives(1.5)
    assert drives.next(0) is None
    drives.hold("pan", 0.5, 0, 3.0)
    assert drives.next(0) == Move(0.5, 0.0, 0.0, 1.5)
    drives.done(Move(0.5, 0.0, 0.0, 1.5), 0)
    assert drives.next(700 * MS) is None
    assert drives.due_mono_ns() == 750 * MS
    assert drives.next(750 * MS) == Move(0.5, 0.0, 0.0, 1.5)
    drives.hold("tilt", -1.0, 760 * MS, 3.0)
    assert drives.next(760 * MS) == Move(0.5, -1.0, 0.0, 1.5)
    drives.done(Move(0.5, -1.0, 0.0, 1.5), 760 * MS)
    assert drives.next(3_000 * MS) == Move(0.0, -1.0, 0.0, pytest.approx(0.76))
    assert isinstance(drives.next(4_000 * MS), Halt)
    drives.done(Halt(), 4_000 * MS)
    assert drives.next(5_000 * MS) is None
    assert drives.due_mono_ns() == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_held_the_camera_stands_soon_after_we_are_gone(seed):
    """Random sticks, then silence at a random moment: the camera never moves longer than its time-out."""
    chance = random.Random(seed)
    drives, turret, now = Drives(1.0), Turret(), NS_PER_S
    died = now + round(chance.uniform(0.5, 6.0) * NS_PER_S)
    last_ns = 0
    while now < died + 3 * NS_PER_S:
        turret.advance(now)
        if now < died:
            if chance.random() < 0.05:
                drives.hold(chance.choice(("pan", "tilt", "zoom")), chance.choice((-1.0, 0.0, 0.3, 1.0)), now, 2.0)
            action = drives.next(now)
            if isinstance(action, Move):
                assert 0.2 <= action.timeout_s <= 1.0
                turret.turn({"pan": action.pan, "tilt": action.tilt, "zoom": action.zoom}, now, action.timeout_s)
            elif action is not None:
                turret.stop()
            if action is not None:
                drives.done(action, now)
        if turret.moving:
            last_ns = now
        now += 20 * MS
    assert last_ns <= died + NS_PER_S


def test_presets_have_the_number_of_their_token_or_of_the_site():
    presets = [
        Preset("Preset_12", "gate", Position(0.1, 0.2, 0.0)), Preset("3", "", None), Preset("home", "Home", None),
        Preset("x3", "other three", None),
    ]  # fmt: skip
    found = numbered(presets, {})
    assert {number: one.token for number, one in found.items()} == {12: "Preset_12", 3: "3"}
    named = numbered(presets, {1: "Home", 12: "gone", 3: "x3"})
    tokens = {number: one.token for number, one in named.items()}
    assert tokens == {1: "home", 3: "x3"}, "a name that is gone is nobody's"


def test_the_preset_that_a_camera_looks_at_is_found_by_its_position():
    presets = {1: Preset("1", "", Position(0.0, 0.0, 0.0)), 2: Preset("2", "", Position(0.5, 0.0, None))}
    assert preset_at(Position(0.001, -0.005, 0.0), presets) == 1
    assert preset_at(Position(0.5, 0.0, 0.9), presets) == 2
    assert preset_at(Position(0.2, 0.0, 0.0), presets) == 0
    assert preset_at(Position(), presets) == 0
