"""Colours that can be read, and none outside of the token file."""

import re
from pathlib import Path

import pytest
from PySide6.QtGui import QFontInfo

import gwanje.hmi
from gwanje.hmi.fonts import FAMILY, FILES, load_fonts
from gwanje.hmi.style import Style, contrast, tokens

FOLDER = Path(gwanje.hmi.__file__).parent

TEXT_ON_GROUND = [
    ("text", "panel"), ("text", "header"), ("text", "plot"), ("text", "bar"), ("text", "selected"), ("text", "symbol"),
    ("text", "row_p1"), ("text", "row_p2"), ("live", "panel"), ("live", "selected"), ("live", "row_p1"),
    ("live", "row_p2"), ("secondary", "panel"), ("secondary", "plot"), ("secondary", "row_p1"),
    ("secondary", "row_p2"), ("secondary", "spectrum_low"), ("badge_text", "badge"), ("lost_text", "lost"),
    ("p1", "panel"), ("secondary", "selected"), ("badge_text", "live"), ("text", "tag"), ("text", "tag_caution"),
    ("tag_danger", "tag"), ("p1_digit", "p1"), ("p2_digit", "p2"), ("p3_digit", "p3"), ("p4_digit", "p4"),
]  # fmt: skip


def test_contrast_is_the_one_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#202020", "#202020") == 1.0


@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_every_text_can_be_read(text, ground):
    color = tokens().color
    assert contrast(color[text], color[ground]) >= 4.5


@pytest.mark.parametrize("priority", [1, 2, 3, 4])
def test_a_priority_stands_out_from_the_panel_by_its_edge(priority):
    color = tokens().color
    assert contrast(color["p_edge"], color["panel"]) >= 4.5
    assert color[f"p{priority}"] == ("#9f1008", "#fbc50e", "#c67017", "#683ba0")[priority - 1]


def test_every_font_has_a_least_size_that_can_be_read():
    assert set(tokens().font) == set(tokens().font_min)
    assert min(tokens().font_min.values()) >= 11
    assert all(tokens().font[name] >= least for name, least in tokens().font_min.items())


def test_no_colour_stands_in_the_code():
    literal = re.compile(r"#[0-9a-fA-F]{6}\b|Qt\.GlobalColor|QColor\(\s*[\"'\d]")
    for path in FOLDER.rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not literal.search(line), f"{path.name}:{number}: {line.strip()}"


def test_the_bundled_font_is_what_is_painted_with(application):
    load_fonts()
    style = Style(1920, 1080)
    for name in tokens().font:
        assert QFontInfo(style.font(name)).family() == FAMILY
    licence = (FOLDER / "fonts" / "OFL.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE" in licence
    assert all(name in licence for name in FILES)


def test_digits_are_equally_wide(application):
    style = Style(1920, 1080)
    for font in ("value", "label", "body"):
        assert len({round(style.width_of(digit, font), 2) for digit in "0123456789"}) == 1


def test_small_windows_keep_readable_letters(application):
    style = Style(640, 360)
    for name, least in tokens().font_min.items():
        assert style.font(name).pixelSize() >= least
