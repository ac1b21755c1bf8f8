"""``gwanje tune`` as a person reads it, without a city: list, dry runs on steps and on a recorded stretch, pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.microgrid.params import parse
from gwanje.control.tuning import talk
from gwanje.control.tuning.change_set import State
from gwanje.control.tuning.dry_run import plant_of, steps
from gwanje.control.tuning.owner import CONTROL, MICROGRID
from gwanje.control.tuning.picture import picture
from gwanje.control.tuning.recording import tags_of
from gwanje.control.tuning.registry import with_values
from gwanje.core.cli import main as cli
from gwanje.core.clock import VirtualClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian.config import HistorianConfig
from gwanje.historian.recorder import Recorder

CHUNGBUK = Path(__file__).parents[3] / "configs" / "chungbuk"
UTC0 = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
SECONDS = 30


@pytest.fixture(scope="module")
def site():
    return load_site(CHUNGBUK)


@pytest.fixture
def asked(capsys, tmp_path, monkeypatch, site):
    """Runs a command about the default site in a place where no city runs: code, output, complaints."""
    monkeypatch.setattr(cli.tune, "load_site", lambda _path: site)
    monkeypatch.setattr(cli.tune, "default_run_dir", lambda _site: tmp_path / "no-city")
    monkeypatch.setattr(cli.tune, "default_data_base", lambda _root: tmp_path / "var")

    def ask(*arguments):
        code = cli.main(["tune", *arguments, "--lang", "en"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    ask.data = tmp_path / "var" / site.id
    ask.data.mkdir(parents=True)
    return ask


def record(folder, site):
    """A history in which the factory's load swings, with a hole of five seconds."""
    config = parse(site.control)
    tags = tags_of(config)
    table = TagTable.build([Tag(name, "W", "field") for name in tags])
    recorder = Recorder(folder, table, HistorianConfig(), VirtualClock(UTC0))
    ids = table.indices(tags).astype(np.uint32)
    for k in range(SECONDS * 20):
        now_s = k / 20
        if 12.0 <= now_s < 17.0:
            continue
        value = dict.fromkeys(tags, 0.0)
        value["jincheon.factory.load_w"] = 5e5 + 5e4 * np.sin(now_s)
        value["jincheon.ess1.discharge_w"] = 1e5 + 5e4 * np.sin(now_s)
        value |= {"grid.tie.import_w": 4e5, "control.tie.import_setpoint_w": 4e5}
        value |= {"jincheon.ess1.soc": 0.5, "eumseong.ess2.soc": 0.5}
        values = np.array([value[name] for name in tags])
        recorder.add_scan(ids, values, np.zeros(len(tags), np.uint16), np.full(len(tags), UTC0 + k * 50_000_000))
    recorder.flush()
    recorder.commit()
    return folder


def test_the_list_says_everything_of_a_parameter(asked):
    code, out, _ = asked("list", "ki_per_s")
    assert code == 0
    assert "tie_line.ki_per_s" in out
    assert "2 1/s  live       (0…20, default 2)  engineer: integral gain of the observer" in out
    assert "1.4 1/s  live       (0…4, default 1)  engineer: gain of frequency restoration" in out
    assert "[the loop of the part control holds the import: tie_line.ki_per_s]" in out
    _, out, _ = asked("list", "--json")
    rows = {one["name"]: one for one in json.loads(out)}
    assert len([name for name in rows if not name.startswith("microgrid.")]) == 45
    assert len(rows) > 150
    assert all(one["ko"] and one["en"] and one["owner"] for one in rows.values())
    microgrid = {name: one for name, one in rows.items() if name.startswith("microgrid.")}
    assert len([one for one in microgrid.values() if one["live"]]) > 80
    assert all(one["live"] or (one["why_ko"] and one["why_en"]) for one in microgrid.values())
    assert rows["loop.period_ms"]["needs_restart"]
    _, out, _ = asked("list", "microgrid.guard.*")
    assert "restart    (45…60, default 59)" in out
    assert "[coordinated with the protection relays]" in out
    _, out, _ = asked("list", "microgrid.guard.*", "--live")
    assert [line.split()[0].rpartition(".")[2] for line in out.splitlines()] == [
        "shed_margin", "reserve_share", "under_step", "under_every_s",
    ]  # fmt: skip
    assert rows["tie_line.kp"]["role"] == "engineer"
    assert asked("list", "nothing_*")[0] == 2


def test_what_was_kept_is_listed_beside_the_file(asked):
    book = {"sets": [], "kept": {"tie_line.kp": {"value": 0.2, "file": 0.3}}, "next_number": 2, "last_kept": 1}
    (asked.data / CONTROL.file).write_text(json.dumps(book))
    book["kept"] = {"microgrid.restore.wait_s": {"value": 20.0, "file": 10.0}}
    (asked.data / MICROGRID.file).write_text(json.dumps(book))
    _, out, _ = asked("list", "--changed")
    first, second = out.splitlines()
    assert "0.2      live       (0…0.9, default 0.3)  engineer: proportional gain of the observer" in first
    assert first.endswith("  ← control.toml 0.3")
    assert second.endswith("  ← microgrid/control.toml 10")


def test_steps_are_tried_and_painted(asked, tmp_path):
    picture = tmp_path / "step.png"
    code, out, _ = asked("try", "ki_per_s=8", "kp=0.6", "path_delay_s=0.02", "--synthetic", "--picture", str(picture))
    assert code == 0
    assert "tie_line.ki_per_s 2 → 8 1/s" in out
    overshoot = next(line.split() for line in out.splitlines() if "Set-point: overshoot" in line)
    assert float(overshoot[-3]) < 5.0 < float(overshoot[-2])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_a_recorded_stretch_is_tried_and_its_gap_is_said(asked, tmp_path, site):
    history = record(tmp_path / "history", site)
    stretch = ("--hour", "2026-01-01T00:00:00+00:00", "--for", str(SECONDS), "--history", str(history))
    code, out, err = asked("try", "lead_s=0", *stretch, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["changes"] == {"tie_line.lead_s": 0.0}
    assert [(round(gap["from_s"]), round(gap["until_s"])) for gap in told["gaps"]] == [(12, 17)]
    before, after = told["figures"]["hour"]["before"], told["figures"]["hour"]["after"]
    assert before["rms_pct"] < 0.5 * after["rms_pct"]
    assert before["rated_s"] == pytest.approx(5.0, abs=0.2)
    code, out, _ = asked("try", "lead_s=0", "--history", str(history), "--for", "10")
    assert "2026-01-01 09:00:19 KST + 10 s" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("try", "ki_pr_s=3", "--synthetic"), "near: tie_line.ki_per_s"),
        (("try", "ki_per_s=99", "--synthetic"), "99 is not within 0…20 1/s"),
        (("try", "ki_per_s", "--synthetic"), "not NAME=VALUE"),
        (("try", "ki_per_s=x", "--synthetic"), "no number"),
        (("try", "kp=0.2", "--hour", "yesterday"), "no time"),
        (("try", "kp=0.2", "--synthetic", "--picture", "/nowhere/x.png"), "no PNG file"),
        (("try", "kp=0.2", "--synthetic", "--save"), "--reason"),
        (("try", "kp=0.2", "island.kp=0.01"), "belong to two parts"),
        (("try", "microgrid.guard.under_hz=58"), "only by a restart (coordinated with the protection relays)"),
        (("try", "microgrid.demand.cap_w=2e6"), "operators set it while it runs: microgrid.limit.demand_cap_w"),
        (("try", "generator_start_soc=0.8"), "microgrid.island.generator_start_soc: not below generator_stop_soc"),
        (("try", "island.ki_per_s=2", "--plant-delay", "0.1"), "--plant-delay is for parameters of the tie-line"),
        (("try", "restore.wait_s=20", "--picture", "x.png"), "no response to draw"),
        (("try", "island.ki_per_s=2", "--for", "3600"), "--for must be 10…900 s"),
        (("status",), "no running city"),
        (("apply", "kp=0.2", "--reason", "x"), "no running city"),
    ],
)
def test_what_cannot_be_is_one_line(asked, arguments, why, tmp_path, monkeypatch, site):
    monkeypatch.setattr("gwanje.core.cli.parsing.load_site", lambda _path: site)
    monkeypatch.setattr("gwanje.core.cli.parsing.default_run_dir", lambda _site: tmp_path / "no-city")
    history = ("--history", str(tmp_path)) if "--hour" in arguments else ()
    code, _, err = asked(*arguments, *history)
    assert code == 2
    assert why in err
    assert len(err.splitlines()) == 1


class Reader:
    """A terminal in one language."""

    def __init__(self, lang):
        self._lang = lang

    def text(self, entry):
        return entry[f"text_{self._lang}"]


def test_the_watch_says_how_near_its_limits_are_and_every_state_in_both_languages():
    one = {"limits": {"error_rms_pct": 2.0, "error_max_pct": 20.0}}
    seen = {"error_rms_pct": 0.0281, "error_max_pct": 0.14, "live": ["error_rms_pct", "error_max_pct", "ticks_lost"]}
    korean, english = (talk._watch_line(Reader(lang), CONTROL, one, 5.0, seen) for lang in ("ko", "en"))
    assert " ".join(korean.split()) == "5 s 연계선 오차 RMS 0.028 (한도 2 %), 연계선 오차 최대 0.140 (한도 20 %)"
    assert " ".join(english.split()) == "5 s tie error RMS 0.028 (limit 2 %), greatest tie error 0.140 (limit 20 %)"
    one = {"limits": {"frequency_max_hz": 0.6, "swings": 8}}
    seen = {"frequency_max_hz": 0.123, "swings": 2.0, "live": ["frequency_max_hz", "swings"]}
    english = talk._watch_line(Reader("en"), MICROGRID, one, 5.0, seen)
    assert "greatest frequency deviation 0.123 (limit 0.6 Hz), turns of the commands 2 (limit 8)" in english
    assert "it waits" in talk._watch_line(Reader("en"), MICROGRID, one, 5.0, seen | {"live": []})
    for state in State:
        said = [talk._state(Reader(lang), {"state": str(state)}) for lang in ("ko", "en")]
        assert said[0] != said[1]


def test_a_picture_says_where_both_curves_lie_on_each_other(site):
    now = parse(site.control)
    stepped = steps(now, with_values(now, {"tie_line.ki_per_s": 4.0}), site.rating_w, plant_of(now))
    titles = [one["title"] for one in picture([], stepped, None, [], "en")["panels"]]
    assert [title.endswith("both alike") for title in titles] == [True, True, False]


def test_a_set_is_named_by_its_number_and_its_part():
    assert talk.set_name("3") == talk.SetName(CONTROL, 3)
    assert talk.set_name("m12") == talk.SetName(MICROGRID, 12)
    assert talk.set_name("ki_per_s=3") is None


def test_the_islands_response_is_tried_and_painted(asked, tmp_path):
    picture = tmp_path / "island.png"
    code, out, err = asked("try", "island.ki_per_s=3.5", "island.ki_delay_max=0.6", "--for", "10",
                           "--picture", str(picture))  # fmt: skip
    assert code == 0, err
    assert "microgrid.island.ki_per_s 1.4 → 3.5 1/s" in out
    rows = {line.split(":")[0].strip() + line.split(":")[1].split(",")[0]: line.split() for line in out.splitlines()
            if ":" in line and "," in line}  # fmt: skip
    before, after = (float(rows["Step overshoot"][at]) for at in (-3, -2))
    assert before < 5.0 < after, "a greater gain overshoots"
    iae = [float(rows["Step IAE"][at]) for at in (-3, -2)]
    assert iae[1] < iae[0], "… and is back sooner"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_what_has_no_response_is_checked_by_the_rules_of_the_file(asked):
    code, out, _ = asked("try", "restore.wait_s=20", "limits.soc_min=0.1")
    assert code == 0
    assert "microgrid.restore.wait_s 10 → 20 s" in out
    assert "ranges and relations hold" in out
