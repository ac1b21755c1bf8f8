"""``acoustic.toml`` and the tags of the site: what is right, and everything that is wrong at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.settings import problems, read_settings, tag_names
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags.table import TagTable

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "configs" / "chungbuk")


def test_the_default_site_is_right(site: Site) -> None:
    assert problems(site) == []


def test_an_empty_table_gives_the_defaults_written_in_the_file(site: Site) -> None:
    defaults, wrong = read_settings({})
    assert not wrong
    # The tag of the air's temperature is the site's own.
    incidents = {key: one for key, one in site.acoustic["incidents"].items() if key != "temperature_tag"}
    written = {**site.acoustic, "class": {}, "incidents": incidents}
    assert read_settings(written)[0] == defaults
    assert defaults.detector((2,) * 8).median_patches == (2,) * 8


def test_classes_have_their_own_values() -> None:
    settings, wrong = read_settings({
        "detector": {"hold_off_s": 3.0},
        "class": {"scream": {"enabled": False, "threshold_shift": 1.5, "hold_off_s": 60.0}},
    })  # fmt: skip
    assert not wrong
    scream = CLASS_NAMES.index("scream")
    assert settings.enabled == tuple(c != scream for c in range(8))
    assert settings.threshold_shift[scream] == 1.5
    assert settings.hold_off_s[scream] == 60.0
    assert set(settings.hold_off_s) == {3.0, 60.0}


def test_everything_wrong_is_told_at_once() -> None:
    _, wrong = read_settings({
        "detectro": {},
        "detector": {"release_margin": 2.0, "hold_of_s": 1.0, "shadow_s": "short"},
        "class": {"bark": {}, "scream": {"threshold_shift": 99.0, "volume": 1}},
    })  # fmt: skip
    paths = {".".join(map(str, path)) for path, _ in wrong}
    assert paths == {
        "detectro", "detector.release_margin", "detector.hold_of_s", "detector.shadow_s", "class.bark",
        "class.scream.threshold_shift", "class.scream.volume",
    }  # fmt: skip


def test_missing_and_foreign_tags_are_named(site: Site) -> None:
    names = tag_names(tuple(node.prefix for node in site.nodes))
    kept = [
        replace(tag, owner="media") if tag.name == names[1] else tag for tag in site.tags if tag.name != names[0]
    ]
    found = problems(replace(site, tags=TagTable.build(kept)))
    assert [(file, names[0] in reason or names[1] in reason) for file, _, reason in found] == [
        ("tags/acoustic.toml", True), ("tags/acoustic.toml", True),
    ]  # fmt: skip
    assert "owner" in found[1][2]
