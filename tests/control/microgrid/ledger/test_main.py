"""The part `ledger`: with a real store, bus and file, time moved by the test."""

import csv
import json
import logging
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hearing import Ear

from gwanje.control.microgrid.files.family_files import FamilyFileError, read_family_files
from gwanje.control.microgrid.ledger import settings as ledger_settings
from gwanje.control.microgrid.ledger.book import FILE as BOOK_FILE
from gwanje.control.microgrid.ledger.book import LedgerBook, LedgerBookError
from gwanje.control.microgrid.ledger.main import Desk, read_site
from gwanje.control.microgrid.ledger.report import ReportError, of_file
from gwanje.control.microgrid.ledger.settings import read_settings, writes
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.cli import ledger as command
from gwanje.core.cli.main import main as cli_main
from gwanje.core.clock import VirtualClock
from gwanje.core.record_file import RecordFile
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

SITE = Path(__file__).resolve().parents[4] / "configs" / "chungbuk"
S = 1_000_000_000
NOON = round(datetime(2026, 11, 18, 3, 0, tzinfo=UTC).timestamp()) * S
"""Of a Wednesday in Korea."""
BEGIN = NOON + 840 * S
"""Of every test: a minute later a quarter of an hour closes."""
WORLD = {
    "grid.tie.import_w": 500e3, "jincheon.pv_roof.generation_w": 200e3, "eumseong.pv_float.generation_w": 100e3,
    "eumseong.wind1.generation_w": 50e3, "jincheon.homes.load_w": 300e3, "jincheon.factory.load_w": 400e3,
    "jincheon.ev_site.load_w": 50e3, "eumseong.heat_pump.load_w": 60e3, "city.lamps.load_w": 20e3,
    "jincheon.ess1.discharge_w": 0.0, "eumseong.ess2.discharge_w": 0.0, "jincheon.ess1.soc": 0.5,
    "eumseong.ess2.soc": 0.6, "jincheon.pv_school.generation_w": 10e3, "jincheon.pv_parking.generation_w": 10e3,
    "eumseong.wind2.generation_w": 5e3, "jincheon.storage1.discharge_w": 0.0, "jincheon.storage1.soc": 0.5,
    "eumseong.converter1.discharge_w": 0.0, "eumseong.converter1.soc": 0.5,
    "jincheon.clinic.load_w": 0.0, "jincheon.shops.load_w": 0.0, "eumseong.ev_site2.load_w": 0.0,
    "eumseong.homes2.load_w": 0.0, "eumseong.pump_station.load_w": 0.0, "jincheon.diesel1.generation_w": 0.0,
    "eumseong.chp1.generation_w": 0.0,
}  # fmt: skip
OPEN_W = 500e3 + 375e3 - 830e3
"""What these meters leave open: 45 kW."""


@pytest.fixture(scope="module")
def site():
    return load_site(SITE)


class Town:
    """One store and one data folder; parts are born and killed in it."""

    def __init__(self, folder, site, speed=1.0):
        self.folder, self.site, self.tags = folder, site, site.tags
        self.options = RunOptions(data_dir=str(folder), speed=speed)
        self.clock = VirtualClock(BEGIN)
        self.store = TagStore.create(folder / "tags", self.tags)
        self.writers = {owner: self.store.writer(owner) for owner in {self.tags.get(name).owner for name in WORLD}}
        self.bus = Bus(folder, "ledger", self.clock, self.tags.n)
        self.hear = Ear(Bus(folder, "hmi", self.clock, self.tags.n), self.bus.publisher(), ["event"])
        (folder / "state").mkdir()
        self.world = dict(WORLD)
        self.quality = {}
        self.writer = self.store.writer("ledger")
        self.desk = None
        self.born()

    def born(self):
        stop, self.stop_write = os.pipe()
        ctx = PartContext(
            "ledger", self.site, self.tags, self.store, self.clock, self.bus, self.folder, self.options, stop,
            logging.getLogger("test"), Heartbeat(self.folder, "ledger"),
        )  # fmt: skip
        settings, tariff = read_site(ctx)
        self.book = LedgerBook(ctx.state_dir / BOOK_FILE)
        self.desk = Desk(ctx, settings, tariff, self.writer, self.book)

    def killed(self):
        """Nothing is saved any more."""
        self.book.close()

    def go(self, seconds, turn=True):
        for _ in range(seconds):
            self.clock.advance_ns(S)
            now, utc = self.clock.mono_ns(), self.clock.utc_ns()
            for name, value in self.world.items():
                if value is not None:
                    self.writers[self.tags.get(name).owner].write_one(
                        self.tags.index(name), value, int(self.quality.get(name, Quality.GOOD)), utc, now
                    )
            if turn:
                self.desk.turn()

    def tag(self, name):
        return self.store.read(self.tags.index(f"ledger.{name}"), self.clock.mono_ns())

    def value(self, name):
        sample = self.tag(name)
        assert not sample.quality & Quality.BAD, name
        return sample.value

    def told(self):
        return [message.class_name for message in self.hear.all() if isinstance(message, Event)]

    def asked(self, span, label=""):
        answers = []

        class Asked:
            message = {"op": "report", "span": span, "label": label}  # noqa: RUF012

            def reply(self, answer):
                answers.append(answer["report"])

            def refuse(self, text):
                answers.append(text)

        self.desk.answer(Asked())
        return answers[0]

    def close(self):
        self.hear.close()
        self.bus.close()


@pytest.fixture
def town(tmp_path, site, request):
    town = Town(tmp_path, site, getattr(request, "param", 1.0))
    yield town
    town.close()


def test_the_site_has_the_tags_and_no_others(site):
    assert sorted(one.name for one in site.tags if one.owner == "ledger") == sorted(writes())
    assert not ledger_settings.problems(site)


def test_a_quarter_of_an_hour_is_counted_shown_and_recorded_once(town):
    town.go(60)
    hours = 60 / 3600
    assert town.value("day.import_wh") == pytest.approx(500e3 * hours, rel=2e-3)
    assert town.value("day.generation_wh") == pytest.approx(375e3 * hours, rel=2e-3)
    assert town.value("day.unaccounted_wh") == pytest.approx(OPEN_W * hours, rel=2e-3)
    assert town.value("day.self_sufficiency") == pytest.approx(1 - 500 / 830, abs=1e-3)
    assert town.value("quarter.import_w") == pytest.approx(500e3, rel=1e-3)
    assert town.value("day.co2_avoided_kg") > 0
    town.go(2)
    entry = town.tag("entry.import_wh")
    assert entry.value == pytest.approx(500e3 / 60)
    assert entry.source_utc_ns == NOON + 900 * S
    assert town.value("entry.begin_utc_s") == BEGIN / 1e9
    assert town.value("month.peak_import_w") == pytest.approx(500e3 / 15)
    assert town.value("month.billed_peak_w") == 750e3, "30 % of the contract"
    assert town.value("month.bill_krw") > 8 * 60
    assert town.tag("day.import_wh").quality & Quality.SIMULATED
    assert not town.tag("day.import_wh").quality & Quality.UNCERTAIN


def test_a_killed_ledger_goes_on_with_a_gap_of_seconds_and_counts_nothing_twice(town):
    town.go(63)
    rows = len(town.asked("day")["rows"])
    town.killed()
    town.go(4, turn=False)
    town.born()
    town.go(100)
    total = town.asked("day")["total"]
    assert 4 <= total["gap_s"] <= 4 + 5
    assert total["residual_mwh"] == 0
    assert total["import_wh"] == pytest.approx(500e3 * 167 / 3600, rel=1e-2), "a short gap keeps the last values"
    assert total["estimated_s"] == pytest.approx(total["gap_s"], abs=0.1)
    assert len(town.asked("day")["rows"]) == rows
    assert town.value("day.gap_s") == pytest.approx(total["gap_s"])


@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_between_closing_and_saving_a_quarter_it_is_closed_again(town, at, monkeypatch):
    """Whatever of a save was done: the file holds all of it or nothing."""
    town.go(58)

    def torn(*_arguments):
        raise LedgerBookError("killed here")

    monkeypatch.setattr(LedgerBook, "save", torn)
    town.go(1 + at)
    town.killed()
    monkeypatch.undo()
    town.born()
    town.go(60)
    found = town.asked("day")
    assert found["rows"][0]["end_utc_ns"] == NOON + 900 * S
    assert found["total"]["import_wh"] == pytest.approx(500e3 * (59 + at + 60) / 3600, rel=1e-2)
    assert found["total"]["residual_mwh"] == 0


def test_a_meter_that_is_bad_is_estimated_and_makes_the_day_uncertain(town):
    town.go(10)
    town.quality["jincheon.factory.load_w"] = Quality.BAD | Quality.COMM
    town.go(90)
    found = town.asked("day")
    factory = next(one for one in found["meters"] if one["tag"] == "jincheon.factory.load_w")
    assert factory["estimated_s"] == pytest.approx(90, abs=1)
    assert factory["forward_wh"] == pytest.approx((9 * 400e3 + 90 * (400e3 + OPEN_W)) / 3600, rel=1e-2), "the balance"
    assert town.tag("day.import_wh").quality & Quality.UNCERTAIN
    town.quality.clear()
    town.quality["jincheon.homes.load_w"] = Quality.SUBSTITUTED
    town.go(10)
    homes = next(one for one in town.asked("day")["meters"] if one["tag"] == "jincheon.homes.load_w")
    assert homes["estimated_s"] == pytest.approx(10, abs=1)


def test_nothing_is_counted_before_the_first_import_is_known(town):
    town.world["grid.tie.import_w"] = None
    town.go(20)
    assert town.tag("day.import_wh").quality & Quality.BAD
    town.world["grid.tie.import_w"] = 1e5
    town.go(3)
    assert town.value("day.gap_s") == 0.0


def test_days_and_months_close_and_stay(town):
    midnight = NOON + 12 * 3600 * S
    town.clock.advance_ns(midnight - BEGIN - 100 * S)
    town.go(200)
    yesterday = town.asked("day", "2026-11-18")
    assert (yesterday["running"], len(yesterday["rows"])) == (False, 1)
    today = town.asked("day")
    assert (today["label"], today["running"]) == ("2026-11-19", True)
    assert town.value("day.import_wh") == pytest.approx(500e3 * 100 / 3600, rel=2e-2)
    month = town.asked("month")
    assert (month["label"], len(month["rows"])) == ("2026-11", 2)
    assert month["total"]["import_wh"] == pytest.approx(500e3 * 200 / 3600, rel=1e-2)
    assert month["bill"]["total_krw"] == pytest.approx(town.value("month.bill_krw"), rel=2e-2), "a minute ago"
    assert month["bill"]["days"] == 2
    assert "nothing is counted" in town.asked("day", "2025-01-01")
    for wrong in ("2025-13-01", "9999-12-31", "0001-01-01", "soon"):
        assert "is no day" in town.asked("day", wrong)
    assert "is no month" in town.asked("month", "9999-12")
    assert "is written" in town.asked("day", ["2026"])
    assert "neither day nor month" in town.asked({"a": 1})
    town.killed()
    town.born()
    town.go(1)
    assert town.asked("month")["bill"]["peak_w"] >= month["bill"]["peak_w"], "the month's quarters are in the book"


@pytest.mark.parametrize("town", [60.0], indirect=True)
def test_a_faster_world_has_its_own_hours(town):
    """The stored energy moves 60 times as fast, and so do the books: they close."""
    town.world["jincheon.ess1.discharge_w"] = 100e3
    for _ in range(61):
        town.world["jincheon.ess1.soc"] -= 100e3 * 60 / 3600 / 1e6
        town.go(1)
    found = town.asked("day")
    assert len(found["rows"]) == 5, "an hour, begun within a quarter"
    assert found["speed"] == 60.0
    assert found["total"]["import_wh"] == pytest.approx(500e3, rel=0.02)
    assert found["total"]["discharge_wh"] == pytest.approx(100e3, rel=0.02)
    assert abs(found["total"]["storage_loss_wh"]) < 2e3
    ends = found["end_utc_ns"]
    town.killed()
    town.go(2, turn=False)
    town.born()
    town.go(1)
    again = town.asked("day")
    assert again["end_utc_ns"] - ends == 180 * S, "the same world goes on"
    assert 120 <= again["total"]["gap_s"] <= 120 + 60 * 6


def test_a_clock_far_off_begins_anew_and_a_small_step_does_not(town):
    town.go(100)
    town.clock.step_utc_ns(-30 * S)
    town.go(40)
    assert town.value("day.import_wh") == pytest.approx(500e3 * 109 / 3600, rel=1e-2), "30 s are not counted twice"
    assert town.told() == []
    town.clock.step_utc_ns(-7200 * S)
    town.go(2)
    assert town.told() == ["ledger_begun_anew"]


def test_a_disk_that_refuses_is_told_and_nothing_is_lost_when_it_takes_again(town, monkeypatch):
    town.go(50)

    def full(*_arguments):
        raise LedgerBookError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(LedgerBook, "save", full)
        town.go(20)
        assert town.value("book.state") == 1.0
    town.go(10)
    assert town.value("book.state") == 0.0
    assert town.told() == ["ledger_not_kept", "ledger_kept"]
    assert len(town.asked("day")["rows"]) == 2


def test_other_meters_keep_the_book_and_begin_sums_anew(town, monkeypatch, site):
    town.go(65)
    town.killed()
    fewer = read_settings(SITE)
    fewer = type(fewer)(fewer.general, fewer.tie, fewer.generation[:2], fewer.load, fewer.loss, fewer.storage)
    monkeypatch.setattr("gwanje.control.microgrid.ledger.main.read_settings", lambda _root: fewer)
    town.born()
    town.go(20)
    assert town.told() == ["ledger_begun_anew"]
    assert len(town.asked("day")["rows"]) == 2


def test_a_damaged_file_is_set_aside(town):
    town.go(10)
    town.killed()
    path = town.folder / "state" / BOOK_FILE
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.write_bytes(b"this is no database" * 400)
    town.born()
    assert town.told() == [], "who has just begun is not heard yet"
    town.go(3)
    assert town.told() == ["ledger_damaged"]
    assert path.with_name(f"{BOOK_FILE}.damaged-1").exists()
    assert town.value("book.state") == 0.0


def test_the_file_answers_when_the_city_is_down(town, site, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_site", lambda _root: site)
    town.go(65)
    live = town.asked("day")
    town.desk.save()
    town.killed()
    path = town.folder / "state" / BOOK_FILE
    found = of_file(path, site, "day", "")
    for key in ("label", "rows", "total"):
        assert found[key] == live[key]
    with pytest.raises(ReportError):
        of_file(path, site, "day", "1999-01-01")
    arguments = ["--site", str(SITE), "--run", str(tmp_path / "none"), "--data", str(town.folder)]

    def run(*more):
        return cli_main(["ledger", *more, *arguments]), capsys.readouterr()

    code, text = run("--lang", "en")
    assert code == 0
    assert "SIMULATED" in text.out
    assert "imported" in text.out
    assert "kWh" in text.out
    code, text = run("--month", "2026-11")
    assert "전기요금" in text.out
    assert "가정" in text.out
    code, text = run("--json", "--day", "2026-11-18")
    assert json.loads(text.out)["simulated"] is True
    out = tmp_path / "day.csv"
    code, text = run("--csv", str(out))
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[0]["import_wh"]) == live["rows"][0]["import_wh"]
    code, text = run("--day", "soon")
    assert (code, "is no day" in text.err) == (2, True)


def test_tables_are_aligned_in_both_languages(town):
    town.go(65)
    for span in ("day", "month"):
        for en in (0, 1):
            text = list(command.lines(town.asked(span), en))
            head = next(k for k, line in enumerate(text) if "kWh" in line and "kW " in line)
            widths = {command._columns(line) for line in text[head:]}
            assert len(widths) == 1, text[head:]


class TestFiles:
    def test_families_are_read_as_one_and_problems_find_their_file(self, tmp_path, site):
        (tmp_path / "microgrid" / "ledger").mkdir(parents=True)
        (tmp_path / "microgrid" / "ledger.toml").write_text('[[tie]]\ntag = "a"\n[[load]]\ntag = "b"\n')
        (tmp_path / "microgrid" / "ledger" / "x.toml").write_text('[[load]]\ntag = "b"\n')
        files = read_family_files(tmp_path, "microgrid/ledger.toml")
        assert files.place(("load", 1, "tag")) == ("microgrid/ledger/x.toml", ("load", 0, "tag"))
        (tmp_path / "microgrid" / "ledger" / "y.toml").write_text('[tie]\ntag = "b"\n')
        with pytest.raises(FamilyFileError, match="stands in"):
            read_family_files(tmp_path, "microgrid/ledger.toml")

    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ("jincheon.homes.load_w", "jincheon.homes.loud_w", "there is no tag jincheon.homes.loud_w"),
            ("jincheon.homes.load_w", "jincheon.factory.load_w", "is counted twice"),
            ("jincheon.homes.load_w", "jincheon.homes.load_wh", "is in Wh, not in W"),
            ("hold_s = 60", "hold_s = -1", "not within"),
            ("[[tie]]", "[[tied]]", "unknown key"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, site, old, new, named, monkeypatch):
        folder = tmp_path / "chungbuk"
        folder.mkdir()
        shutil.copytree(SITE / "microgrid", folder / "microgrid")
        shutil.copy(SITE / "tariffs.toml", folder)
        path = folder / "microgrid" / "ledger.toml"
        path.write_text(path.read_text().replace(old, new, 1))
        found = ledger_settings.problems(replace(site, root=folder))
        assert any(named in reason for _, _, reason in found), found

    def test_a_reader_does_not_make_a_book(self, tmp_path):
        with pytest.raises(LedgerBookError):
            LedgerBook(tmp_path / "none.sqlite", read_only=True)
        RecordFile(tmp_path / "other.sqlite", "something else").close()
        with pytest.raises(LedgerBookError, match="schema"):
            LedgerBook(tmp_path / "other.sqlite", read_only=True)


def test_a_turn_takes_little(town):

    town.go(65)
    began = time.thread_time()
    for _ in range(50):
        town.clock.advance_ns(S)
        town.desk.turn()
    assert (time.thread_time() - began) / 50 < 0.02, "2 % of a core"
