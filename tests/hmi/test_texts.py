"""Two complete languages that fit, without overlap, at the sizes of control-room screens."""

import re
from pathlib import Path

import pytest
from PySide6.QtGui import QRawFont

import gwanje.hmi
from gwanje.core.bus.bus import PARTS
from gwanje.hmi.i18n import LANGUAGES, Texts, read_table
from gwanje.hmi.items.ink import SUBSTITUTES, Written
from gwanje.hmi.style import Style

FOLDER = Path(gwanje.hmi.__file__).parent
SOUNDS = ("gunshot", "explosion", "glass_break", "scream", "baby_cry", "siren_alarm", "car_horn", "vehicle_crash")


def test_both_languages_have_the_same_keys_and_fields():
    ko, en = read_table("ko"), read_table("en")
    assert set(ko) == set(en)
    for key in ko:
        assert ko[key].strip()
        assert en[key].strip()
        assert set(re.findall(r"{(\w+)}", ko[key])) == set(re.findall(r"{(\w+)}", en[key])), key


def test_korean_is_korean_and_english_has_no_hangul():
    mixed = {"header.simulated"}  # says it in both, so that every visitor understands
    for key, text in read_table("en").items():
        assert key in mixed or not re.search(r"[가-힣]", text), key
    plain = {"alarms.n", "diagram.set", "operate.tagged_by", "areas.holder", "session.who"}  # nothing but fields
    for key, text in read_table("ko").items():
        assert key in plain or re.search(r"[가-힣]", text), key


def test_every_text_that_the_code_asks_for_is_there_and_none_is_left_over():
    known = read_table("ko")
    source = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py"))
    sections = "|".join({key.split(".")[0] for key in known})
    asked = set(re.findall(rf"[\"']((?:{sections})\.\w+)[\"']", source))
    composed = ("alarm_state.", "alarm_short.", "sound.", "acoustic.column_", "part.", "role.", "why.role_", "answer.",
                "operation.", "faceplate.", "quality.", "mark.", "override.kind_", "tag_kind.", "tag_effect.",
                "duration.",
                "alarms.", "areas.", "shelf.")  # fmt: skip
    assert asked <= set(known) | {"sim.clock"}, asked - set(known)
    unused = {key for key in known if key not in asked and not key.startswith(composed)}
    assert not unused


def test_every_sound_class_has_a_name():
    for lang in LANGUAGES:
        texts = Texts(lang)
        assert all(texts.known(f"sound.{name}") for name in SOUNDS)


def test_every_part_has_a_name():
    for lang in LANGUAGES:
        texts = Texts(lang)
        assert [part for part in PARTS if not texts.known(f"part.{part}")] == []


def test_the_font_has_every_letter_that_is_written(application, site, fake):
    font = QRawFont.fromFont(Style(1920, 1080).font("body"))
    texts = [*read_table("ko").values(), *read_table("en").values(), site.name_ko, site.name_en]
    texts += [text for one in [*site.devices, *site.nodes] for text in (one.label_ko, one.label_en)]
    texts.append((fake.SITE / "displays" / "overview.toml").read_text(encoding="utf-8"))
    for one in (*site.alarms, *site.event_alarms):
        texts += [str(part) for part in vars_of(one).values()]
    letters = {letter for text in texts for letter in text.translate(SUBSTITUTES) if not letter.isspace()}
    assert not {letter for letter in letters if not font.supportsCharacter(ord(letter))}


def vars_of(thing):
    import dataclasses

    return dataclasses.asdict(thing)


def written(screen, panel) -> list[Written]:
    notes: list[Written] = []
    screen.view.ui.recorder = notes
    panel.relayout()
    panel.grab()
    screen.view.ui.recorder = None
    return notes


def states(fake, screen):
    """The moments in which much is written."""
    yield "empty"
    screen.turn(30)
    yield "normal"
    fake.trouble(screen)
    screen.city.mute.add("eumseong.wind1.generation_w")
    screen.turn(12)
    yield "trouble"
    screen.city.send_scan({
        "grid.tie.import_w": -2_345_678.0, "jincheon.ess1.discharge_w": -456_789.0,
        "control.ess1.discharge_setpoint_w": -456_789.0, "control.loop.ticks": 864_000_000.0,
        "system.historian.points_recorded": 123_456_789.0, "system.historian.points_acknowledged": 123_456_789.0,
        "system.historian.backlog": 1_234_567.0, "control.tie.error_w": -123_456.0, "control.loop.fifo": 0.0,
        "jincheon.pv_roof.online": 0.0, "grid.breaker.closed": 0.0, "control.tie.mode": 1.0,
        "jincheon.factory.load_w": 1_234_567.0, "control.loop.late_p999_us": 12_345.0,
    })  # fmt: skip
    screen.silent(1)
    yield "large numbers"
    screen.silent(120)
    yield "lost"
    fake.storm(screen)
    screen.silent(3)
    yield "storm"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("size", [(1920, 1080), (1366, 768)])
def test_nothing_is_clipped_and_nothing_overlaps(application, fake, site, size, lang):
    screen = fake.build(*size, lang, site)
    faults = []
    for state in states(fake, screen):
        for name, panel in screen.view.panels.items():
            notes = written(screen, panel)
            assert notes, f"{name} writes nothing"
            faults += [f"{state}/{name}: {note.text!r} needs {note.ink.width():.0f} of {note.room.width():.0f} px"
                       for note in notes if not note.fits]  # fmt: skip
            for index, one in enumerate(notes):
                for other in notes[index + 1 :]:
                    shared = one.ink.intersected(other.ink)
                    if shared.width() > 1.5 and shared.height() > 1.5:
                        faults.append(f"{state}/{name}: {one.text!r} lies on {other.text!r}")
    screen.view.close()
    assert not faults, "\n".join(faults)
