"""``gwanje tags`` and its kin as a person at the terminal reads them, against a run directory without a core."""

import argparse
import fcntl
import json
import os
from pathlib import Path

import numpy as np
import pytest
from large_site import large_site

from gwanje.core.city.run_dir import RunInfo
from gwanje.core.cli import main as cli
from gwanje.core.cli.tags import _left, _length, shown_width, value_text
from gwanje.core.clock import SystemClock, boot_id
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Overrides, TagStore
from gwanje.core.tags.table import Tag

SITE = '[site]\nid = "t"\nname_ko = "시"\nname_en = "T"\nconnection_rating_w = 1000\nparts = ["core"]\n'
TAGS = """
[[tag]]
name = "a.b.power_w"
unit = "W"
owner = "control"
low = -5
high = 1_000_000
limits = {high_warning = 900_000}
deadband = 2
stale_after_s = 3_000
decimals = 1
ko = "전력"
en = "Power"

[[tag]]
name = "a.b.breaker"
unit = ""
owner = "control"
kind = "state"
low = 0
high = 1
states = [["열림", "open"], ["닫힘", "closed"]]
ko = "차단기"
en = "Breaker"

[[tag]]
name = "a.b.loading"
unit = ""
owner = "core"
derived = "a.b.power_w / site.rating_w"
ko = "부하율"
en = "Loading"
"""


@pytest.fixture
def town(tmp_path: Path):
    root, run = tmp_path / "site", tmp_path / "run"
    (root / "tags").mkdir(parents=True)
    (root / "site.toml").write_text(SITE, encoding="utf-8")
    (root / "tags" / "t.toml").write_text(TAGS, encoding="utf-8")
    run.mkdir()
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a running city holds it
    site, clock = load_site(root), SystemClock()
    RunInfo(
        pid=1, site_root=str(root), data_dir=str(tmp_path), started_utc_ns=1, started_mono_ns=1, boot_id=boot_id()
    ).write(run)
    store = TagStore.create(run / "tags", site.tags)
    writer = store.writer("control")
    writer.write_one(site.tags.index("a.b.power_w"), 12.34, Quality.SIMULATED, clock.utc_ns(), clock.mono_ns())
    writer.write_one(site.tags.index("a.b.breaker"), 1.0, Quality.GOOD, clock.utc_ns(), clock.mono_ns())

    def run_cli(*arguments: str) -> int:
        places = ["--site", str(root), "--run", str(run)]
        return cli.main([*arguments, *places])

    yield run_cli, site, store, clock
    os.close(lock)


def test_live_values_stand_in_columns_with_quality_age_and_words(town, capsys) -> None:
    run, *_ = town
    assert run("tags", "a.b.*", "--lang", "en") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["a.b.breaker", "a.b.loading", "a.b.power_w"]
    assert lines[0].split()[1] == "closed"
    assert "never" in lines[1]
    assert "BAD" in lines[1]
    assert "12.3 W" in lines[2]
    assert "GOOD (simulated)" in lines[2]
    assert len({line.index(" s  ") for line in (lines[0], lines[2])}) == 1


def test_live_values_as_json(town, capsys) -> None:
    run, *_ = town
    assert run("tags", "a.b.*", "--json") == 0
    breaker, loading, power = json.loads(capsys.readouterr().out)
    assert (breaker["value"], breaker["text"], breaker["quality_words"], breaker["override"]) == (
        1.0, "closed", "GOOD", None,
    )  # fmt: skip
    assert (loading["value"], loading["age_s"], loading["source_utc"]) == (None, None, None)
    assert power["unit"] == "W"
    assert 0 <= power["age_s"] < 100


def test_a_substituted_value_is_shown_also_when_no_core_can_say_by_whom(town, capsys) -> None:
    run, site, store, clock = town
    ids = np.array([site.tags.index("a.b.power_w")], np.int32)
    bits, time = np.array([Quality.SUBSTITUTED], np.uint16), np.array([clock.mono_ns()])
    common = store.common_writer()
    common.override(Overrides(ids, np.array([77.0]), bits, time, 0 * time, time + 10**12))
    assert run("tags", "a.b.power_w", "--lang", "en") == 0
    said = capsys.readouterr()
    assert "77.0 W" in said.out
    assert "GOOD SUBSTITUTED (simulated)" in said.out
    assert "is not known" in said.err


def test_static_data_needs_no_city(town, tmp_path, capsys) -> None:
    assert cli.main(["tags", "a.b.*", "--static", "--site", str(tmp_path / "site")]) == 0
    out = capsys.readouterr().out
    assert "전력 · Power" in out
    assert "-5 … 1 000 000 W; warns outside any … 900 000; deadband 2; stale after 3000 s" in out
    assert "0 열림 · open, 1 닫힘 · closed" in out
    assert "= a.b.power_w / site.rating_w" in out
    assert cli.main(["tags", "a.b.loading", "--static", "--json", "--site", str(tmp_path / "site")]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["derived"], told["low"]) == ("a.b.power_w / site.rating_w", None)


def test_what_fails_says_so_in_one_line(town, tmp_path, capsys) -> None:
    run, *_ = town
    assert run("tags", "no.such.*") == 2
    assert capsys.readouterr().err == "gwanje: no tag matches 'no.such.*'\n"
    assert run("overrides") == 2
    assert "did not answer" in capsys.readouterr().err
    assert cli.main(["tags", "--site", str(tmp_path / "site"), "--run", str(tmp_path)]) == 2
    assert "no running city" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("30min", 1800), ("1.5h", 5400)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert _length(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1d", "1 h", "nan", "1e3"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _length(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (3600, "1 h 00 min")]
)
def test_what_is_left_is_told_for_people(seconds: float, text: str) -> None:
    assert _left(seconds, "en") == text


def test_a_state_without_a_word_is_its_number() -> None:
    tag = Tag("a.b.s", "", "field", states=(("가", "a"),), decimals=0)
    assert [value_text(tag, value) for value in (0.0, 0.5, 1.0, -1.0, float("nan"))] == ["a", "0", "1", "-1", "–"]


# ---------------------------------------------------------------- devices, and what is bad


@pytest.fixture
def lamps(tmp_path: Path):
    """A large site with two lamps heard of, one of them dead."""
    root, run = large_site(tmp_path / "large", 30, 5), tmp_path / "run"
    run.mkdir()
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a running city holds it
    site, clock = load_site(root), SystemClock()
    info = {"pid": 1, "site_root": str(root), "data_dir": str(tmp_path), "started_utc_ns": 1, "started_mono_ns": 1}
    RunInfo(**info, boot_id=boot_id()).write(run)
    writer = TagStore.create(run / "tags", site.tags).writer("street")
    for n, quality in ((1, Quality.SIMULATED), (2, Quality.BAD | Quality.COMM | Quality.SIMULATED)):
        at = site.tags.index(f"jincheon.lamp{n:04}.dim_pct")
        writer.write_one(at, 40.0, quality, clock.utc_ns(), clock.mono_ns())
        writer.write_one(site.tags.index(f"jincheon.lamp{n:04}.online"), 2.0 - n, 0, clock.utc_ns(), clock.mono_ns())
    for quantity, value in (("devices", 31), ("online", 1), ("reads_per_s", 2.5), ("errors", 7), ("skipped", 0)):
        at = site.tags.index(f"system.family_street.{quantity}")
        writer.write_one(at, value, 0, clock.utc_ns(), clock.mono_ns())
    yield lambda *arguments: cli.main([*arguments, "--site", str(root), "--run", str(run)])
    os.close(lock)


def test_a_tag_is_shown_with_its_device_in_either_language(lamps, capsys) -> None:
    assert lamps("tags", "*.lamp0001.*", "--lang", "en") == 0
    lines = capsys.readouterr().out.splitlines()
    (dim,) = [one for one in lines if one.startswith("jincheon.lamp0001.dim_pct")]
    assert dim.split("  ")[-2:] == ["Streetlight 1", "dimming level"]
    assert "40.0 %" in dim
    assert lamps("tags", "*.lamp0001.*") == 0, "Korean where nothing is said, as everywhere"
    lines = capsys.readouterr().out.splitlines()
    (dim,) = [one for one in lines if one.startswith("jincheon.lamp0001.dim_pct")]
    assert dim.split("  ")[-2:] == ["가로등 1", "조광률"]
    assert [one for one in lines if "lamp0001.online" in one and "통신 정상" in one]
    ends = {shown_width(one[: one.index("가로등 1")]) for one in lines}
    assert len(ends) == 1


def test_only_what_is_bad_is_shown_when_asked_for(lamps, capsys) -> None:
    assert lamps("tags", "*.lamp*.dim_pct", "--bad") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 29  # all lamps but the first
    assert lines[0].startswith("jincheon.lamp0002.dim_pct")
    assert "BAD COMM (simulated)" in lines[0]
    for lang, text in (("en", "no tag is BAD, of 1\n"), ("ko", "BAD인 값 없음 (태그 1개 중)\n")):
        assert lamps("tags", "*.lamp0001.dim_pct", "--bad", "--lang", lang) == 0
        assert capsys.readouterr().out == text
    assert lamps("tags", "*.lamp000[12].dim_pct", "--bad", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["device"] == {"name": "jincheon.lamp0002", "label_ko": "가로등 2", "label_en": "Streetlight 2"}


def test_a_tag_of_the_city_itself_has_no_device(lamps, capsys) -> None:
    assert lamps("tags", "system.family_street.errors", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["device"] is None
    assert lamps("tags", "system.family_street.errors", "--lang", "en") == 0
    assert "  –  street: link errors" in capsys.readouterr().out


def test_the_status_tells_families_and_some_of_the_devices_that_are_offline(lamps, capsys) -> None:
    assert lamps("status") == 0
    lines = [one.strip() for one in capsys.readouterr().out.splitlines()]
    (street,) = [one for one in lines if one.startswith("street ")]
    assert street.split() == (
        ["street", "1", "of", "31", "online", "2.5", "reads/s", "late", "p99", "–", "ms", "errors", "7", "skipped", "0"]
    )
    (offline,) = [one for one in lines if one.startswith("devices: ")]
    assert offline.startswith("devices: 1 of 37 online; offline: csms, charger0001")
    assert offline.endswith("… and 26 more")
    assert lamps("status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["offline"]) == 36
    (street,) = [one for one in told["families"] if one["part"] == "street"]
    assert street == {
        "part": "street", "devices": 31, "online": 1, "reads_per_s": 2.5, "late_p99_ms": None, "errors": 7,
        "skipped": 0,
    }  # fmt: skip


def test_a_value_without_end_is_shown_as_none() -> None:
    tag = Tag("a.b.s", "", "field", states=(("가", "a"),), decimals=0)
    assert value_text(tag, float("inf")) == "–"


OVERRIDE = {
    "point": "jincheon.lamp0001.dim_pct", "kind": "substituted", "value": 30.0, "author": "kim", "reason": "repair",
    "set_utc_ns": 1_767_225_600_000_000_000, "until_utc_ns": 1_767_229_200_000_000_000, "left_s": 3_540.0,
}  # fmt: skip


@pytest.mark.parametrize(("lang", "words"), [
    ("ko", ["대체", "59 분 00 초 남음", "kim 2026-01-01 09:00:00 KST부터: repair"]),
    ("en", ["substituted", "59 min 00 s left", "by kim since 2026-01-01 09:00:00 KST: repair"]),
])  # fmt: skip
def test_what_is_substituted_is_told_in_either_language_on_the_sites_clock(lamps, capsys, monkeypatch, lang, words):
    monkeypatch.setattr("gwanje.core.cli.tags.ask", lambda *_: {"overrides": [OVERRIDE]})
    assert lamps("overrides", "--lang", lang) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words), said
    assert lamps("overrides", "--json", "--lang", lang) == 0
    assert json.loads(capsys.readouterr().out) == [OVERRIDE], "what programs read is the same in every language"
