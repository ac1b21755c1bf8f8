"""Files of a collector: rows, troubles, where each file goes, and the drivers beside the simulated collector."""

import asyncio
import math
import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from meter_rig import Ears, make_world, site

from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import Meter as Lateness
from gwanje.io.field.health import State
from gwanje.io.field.meter_file import folder as files
from gwanje.io.field.meter_file import parse as parsing
from gwanje.io.field.meter_file.driver import FileMeter, Folder
from gwanje.io.field.meter_file.parse import FileError, parse
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.meter_files import FIRST_PERIODS, KINDS, make_files
from gwanje.io.sim.faults import FaultError

NS = 10**9
NOW = 1_790_000_100 * NS
HEAD = "meter,end,energy_wh,status\n"
LIMITS = {"H061": (0.0, 5000.0), "H062": (0.0, 5000.0)}
END = "2026-09-21T23:00:00+09:00"
END_NS = round(datetime(2026, 9, 21, 14, tzinfo=UTC).timestamp()) * NS


def read(text, limits=LIMITS, now=NOW):
    return parse(text.encode(), limits, 900.0, now)


def test_rows():
    found = read(f"\ufeff{HEAD}H061,{END},123.5,\n\nH062,2026-09-21T14:00:00Z,0,E\r\n")
    assert found.rows == 2
    assert [(one.utc_ns, one.value, one.quality) for one in found.entries["H061"]] == [(END_NS, 123.5, 0)]
    assert found.entries["H062"][0].quality == Quality.UNCERTAIN | Quality.SUBSTITUTED


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        ("", 0),
        ("P", Quality.UNCERTAIN | Quality.CLAMPED),
        ("C", Quality.UNCERTAIN | Quality.TIME),
        ("EX", Quality.BAD | Quality.DEVICE_FAILURE | Quality.SUBSTITUTED),
    ],
)
def test_status_letters(status, quality):
    assert read(f"{HEAD}H061,{END},1,{status}\n").entries["H061"][0].quality == quality


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("H999,2026-09-21T23:00:00+09:00,1,", "unknown meter 'H999'"),
        ("H061,2026-09-21T23:00:00,1,", "how far it is from UTC"),
        ("H061,yesterday,1,", "no time"),
        ("H061,2099-01-01T00:00:00Z,1,", "not come yet"),
        ('H061,2026-09-21T23:00:00+09:00,"1,234",', "no number"),
        ("H061,2026-09-21T23:00:00+09:00,1_000,", "no number"),
        ("H061,2026-09-21T23:00:00+09:00,nan,", "no number"),
        ("H061,2026-09-21T23:00:00+09:00,inf,", "no number"),
        ("H061,2026-09-21T23:00:00+09:00,,", "no number"),
        ("H061,2026-09-21T23:00:00+09:00,1,Q", "unknown status"),
        ("H061,2026-09-21T23:00:00+09:00,1", "3 fields"),
        ("H061,2026-09-21T23:00:00+09:00,1,,,", "6 fields"),
        (f"H061,{'9' * 100},1,", "no time"),
        (f"H061,2026-09-21T23:00:00+09:00,{'1' * 100},", "no number"),
        ("H061,0001-01-01T00:00:00+23:00,1,", "before 1970"),
        ("H061,1500-01-01T00:00:00Z,1,", "before 1970"),
        (f'H061,{END},"{"1" * 140_000}",', "no fields"),
    ],
)
def test_bad_rows_are_named_and_the_others_count(row, why):
    found = read(f"{HEAD}{row}\nH062,{END},5,\n")
    assert found.good == 1
    (number, text, reason), = found.bad
    assert number == 2
    assert text == row[:64]
    assert why in reason


def test_values_outside_and_times_off_the_grid():
    found = read(f"{HEAD}H061,{END},9999,\nH062,2026-09-21T14:00:07Z,5,\n").entries
    assert found["H061"][0].quality == Quality.BAD | Quality.OUT_OF_RANGE
    assert found["H062"][0].quality == Quality.UNCERTAIN | Quality.TIME


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "first line"),
        (b"\x01\x02 not a table\n", "first line"),
        (b"meter;end;energy_wh;status\n", "first line"),
        (b"\xff\xfe", "not UTF-8"),
        (HEAD.encode() + b"\0", "zero bytes"),
        (HEAD.encode(), "has no rows"),
        (HEAD.encode() + b"H999,x,1,\n", "no row of it"),
        (HEAD.encode() + b"\n" * 70_000, "rows, at most"),
        (b"x" * (parsing.FILE_BYTES_MAX + 1), "bytes, at most"),
    ],
)
def test_files_that_are_none_of_ours(raw, why):
    with pytest.raises(FileError, match=why):
        parse(raw, LIMITS, 900.0, NOW)


def test_hostile_bytes():
    chance, refused = random.Random(9), 0
    good = f"{HEAD}H061,{END},123.5,\nH062,{END},1,P\n".encode()
    for _ in range(5_000):
        raw = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        try:
            found = parse(bytes(raw), LIMITS, 900.0, NOW)
        except FileError:
            refused += 1
            continue
        for entries in found.entries.values():
            assert all(math.isfinite(one.value) for one in entries)
    assert 0 < refused < 5_000


# ---- the folder


def test_only_whole_files_are_taken_oldest_first(tmp_path):
    place = tmp_path / "new" / "folder"
    assert files.look(place) == []
    for name in ("b.csv", "a.csv", "c.csv.part", ".d.csv.swp"):
        (place / name).write_text(name)
    (place / "dir.csv").mkdir()
    assert [one.path.name for one in files.look(place)] == ["a.csv", "b.csv"]


def test_nothing_is_lost_when_names_are_taken(tmp_path):
    for text in ("one", "two", "three"):
        (tmp_path / "a.csv").write_text(text)
        files.put_away(tmp_path / "a.csv", "done", "why" if text == "two" else "")
    assert {one.name: one.read_text() for one in (tmp_path / "done").iterdir()} == {
        "a.csv": "one", "a.1.csv": "two", "a.1.csv.txt": "why", "a.2.csv": "three",
    }  # fmt: skip


# ---- the drivers


class Rig:
    def __init__(self, tmp_path, homes=4, period_s=900.0, world_clock=None):
        devices = [one for one in site().devices if one.driver == "meter_file"][: homes + 1]
        hub = replace(devices[0], params={"folder": "in", "period_s": period_s})
        self.devices = [hub, *devices[1:]]
        self.ears = Ears()
        self.outlet = Outlet(self.ears, self.ears)
        self.clock = SystemClock()
        self.path = tmp_path / "in"
        self.sim = make_files(
            self.devices, self.clock, "Asia/Seoul", lambda: make_world(world_clock), tmp_path
        )
        self.meters = [FileMeter(one, site().tags, self.outlet, self.clock, period_s) for one in self.devices[1:]]
        self.folder = Folder(
            hub, self.path, self.meters, site().tags, self.outlet, self.clock, 0.05, Lateness()
        )

    def tag(self, index, quantity):
        return self.ears.latest.get(f"{self.devices[index].prefix}.{quantity}", (math.nan, 0xFFFF, 0))

    def past(self, index, quantity="energy_15min_wh"):
        return self.ears.profiles.get(f"{self.devices[index].prefix}.{quantity}", [])

    def names(self, where):
        return sorted(one.name for one in (self.path / where).glob("*.csv"))


def live(tmp_path, body, before=None, **options):
    async def main():
        rig = Rig(tmp_path, **options)
        if before:
            await before(rig)
        await rig.sim.open()
        task = asyncio.create_task(rig.folder.run())
        try:
            await body(rig)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            rig.outlet.flush()
            await rig.sim.close()

    asyncio.run(main())


def test_files_become_history_and_the_newest_the_present(tmp_path):
    async def body(rig):
        await rig.ears.until(lambda: len(rig.past(4)) >= FIRST_PERIODS and rig.tag(0, "files_done")[0] >= FIRST_PERIODS)
        times = sorted(utc_ns for utc_ns, _, _ in rig.past(1))
        assert [one % (900 * NS) for one in times] == [0] * FIRST_PERIODS
        assert rig.tag(1, "energy_15min_wh")[2] == times[-1]
        assert rig.tag(1, "load_15min_w")[0] == pytest.approx(4 * rig.tag(1, "energy_15min_wh")[0])
        assert rig.tag(1, "energy_15min_wh")[1] == Quality.SIMULATED
        assert len(rig.names("done")) == FIRST_PERIODS
        assert files.look(rig.path) == []
        assert rig.tag(0, "rows_bad")[0] == 0
        assert rig.tag(0, "file_age_s")[0] < 20
        assert {one.health.state for one in (rig.folder, *rig.meters)} == {State.ONLINE}
        assert "ever written" in rig.folder.command(None)
        assert "ever written" in rig.meters[0].command(None)

    live(tmp_path, body)


def begun(kind, index=0):
    async def before(rig):
        await rig.sim.set_fault(CityFault(rig.devices[index].name, kind, 0.0, {}))

    return before


def test_bad_rows_are_counted_told_and_kept(tmp_path):
    async def body(rig):
        await rig.ears.until(lambda: rig.tag(0, "files_done")[0] >= FIRST_PERIODS)
        assert rig.tag(0, "rows_bad")[0] == 3 * FIRST_PERIODS
        await rig.ears.until(lambda: len(rig.past(4)) == FIRST_PERIODS)
        assert rig.past(1) == []
        told = next(one for one in rig.ears.events if one.class_name == "meter_rows_bad")
        assert told.data["rows"] == 3
        assert "row 2: 5 fields" in told.data["first"]
        note = next((rig.path / "done").glob("*.csv.txt")).read_text()
        assert note.count("row ") == 3

    live(tmp_path, body, begun("bad_rows"))


def test_bad_files_go_aside_with_the_reason(tmp_path):
    async def body(rig):
        await rig.ears.until(lambda: rig.tag(0, "files_bad")[0] >= FIRST_PERIODS)
        assert len(rig.names("bad")) == FIRST_PERIODS
        assert "first line" in next((rig.path / "bad").glob("*.csv.txt")).read_text()
        assert rig.tag(0, "files_done")[0] == 0
        assert rig.ears.classes().count("meter_file_bad") == FIRST_PERIODS

    live(tmp_path, body, begun("bad_file"))


def test_duplicates_are_left_out(tmp_path):
    async def body(rig):
        await rig.ears.until(lambda: rig.tag(0, "files_done")[0] >= 2 * FIRST_PERIODS)
        await rig.ears.until(lambda: len(rig.past(1)) >= FIRST_PERIODS)
        assert len(rig.past(1)) == FIRST_PERIODS
        assert len(rig.names("done")) == 2 * FIRST_PERIODS

    live(tmp_path, body, begun("duplicate"))


@pytest.mark.parametrize(("kind", "quality"), [("estimated", Quality.UNCERTAIN | Quality.SUBSTITUTED),
                                              ("power_fail", Quality.UNCERTAIN | Quality.CLAMPED)])  # fmt: skip
def test_status_becomes_quality(tmp_path, kind, quality):
    async def body(rig):
        await rig.ears.until(lambda: rig.tag(2, "energy_15min_wh")[2])
        assert rig.tag(2, "energy_15min_wh")[1] == int(quality) | Quality.SIMULATED
        assert rig.tag(1, "energy_15min_wh")[1] == Quality.SIMULATED

    live(tmp_path, body, begun(kind, 2))


def test_a_folder_that_cannot_be_read_is_told_and_comes_back(tmp_path):
    (tmp_path / "in").write_text("a file where the folder should be")

    async def before(rig):
        await begun("silent")(rig)

    async def body(rig):
        await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
        await rig.ears.until(lambda: rig.tag(0, "files_done")[1] & Quality.COMM)
        (tmp_path / "in").unlink()
        await rig.ears.until(lambda: "device_online" in rig.ears.classes())
        await rig.ears.until(lambda: rig.tag(0, "files_done")[1] == Quality.SIMULATED)
        assert rig.tag(0, "file_age_s")[1] & Quality.NEVER

    live(tmp_path, body, before)


@pytest.mark.parametrize("row", ["H061,0001-01-01T00:00:00+23:00,1,", "H061,1500-01-01T00:00:00Z,1,"])
def test_a_row_of_another_age_costs_nobody_else_anything(tmp_path, row):
    async def before(rig):
        await begun("silent")(rig)
        rig.path.mkdir(exist_ok=True)
        (rig.path / "a.csv").write_text(f"{HEAD}{row}\nH062,{END},5,\n")

    async def body(rig):
        await rig.ears.until(lambda: rig.tag(0, "files_done")[0] == 1)
        assert rig.tag(0, "rows_bad")[0] == 1
        assert rig.tag(2, "energy_15min_wh")[0] == 5.0

    live(tmp_path, body, before)


def test_a_file_that_cannot_be_read_keeps_no_other_waiting(tmp_path, monkeypatch):
    whole = Path.open

    def denied(self, mode="r", *args, **options):
        if self.name == "a.csv" and mode == "rb":
            raise PermissionError(13, "Permission denied")
        return whole(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", denied)

    async def before(rig):
        await begun("silent")(rig)
        rig.path.mkdir(exist_ok=True)
        for name in ("a.csv", "b.csv"):
            (rig.path / name).write_text(f"{HEAD}H061,{END},5,\n")

    async def body(rig):
        await rig.ears.until(lambda: rig.tag(0, "files_done")[0] == 1)
        assert rig.names("done") == ["b.csv"]
        assert rig.names("bad") == ["a.csv"]
        assert rig.tag(0, "files_bad")[0] == 1
        assert "Permission denied" in (rig.path / "bad" / "a.csv.txt").read_text()
        assert rig.folder.health.state is State.ONLINE

    live(tmp_path, body, before)


def test_a_file_that_cannot_be_put_away_keeps_no_other_waiting(tmp_path):
    name = "a" * 251 + ".csv"  # and no letter more, for the note beside it

    async def before(rig):
        await begun("silent")(rig)
        rig.path.mkdir(exist_ok=True)
        (rig.path / name).write_text("not a table")
        (rig.path / "b.csv").write_text(f"{HEAD}H061,{END},5,\n")

    async def body(rig):
        await rig.ears.until(lambda: rig.names("done") == ["b.csv"])
        await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
        assert (rig.path / name).exists()

    live(tmp_path, body, before)


def test_a_meter_without_rows_goes_offline():
    device = next(one for one in site().devices if one.address == "H061")

    async def main():
        ears = Ears()
        meter = FileMeter(device, site().tags, Outlet(ears, ears), SystemClock(), 900.0)
        meter.take([parsing.Entry(END_NS, 5.0, 0)])
        meter.look(meter._heard_mono_ns + 2699 * NS)
        assert meter.health.state is State.ONLINE
        meter.look(meter._heard_mono_ns + 2701 * NS)
        assert meter.health.state is State.BACKOFF
        meter.take([parsing.Entry(END_NS + 900 * NS, 5.0, 0)])
        assert [one.class_name for one in ears.events] == ["device_offline", "device_online"]

    asyncio.run(main())


def test_killed_between_publishing_and_putting_away_nothing_doubles(tmp_path):
    """The same file once more, as after a restart that found it in its place: known entries are left out."""

    async def main():
        rig = Rig(tmp_path)
        collector = next(iter(rig.sim._collectors.values()))
        collector.write(END_NS)
        found = files.look(rig.path)
        await rig.folder._take(found[0])
        Path(found[0].path).write_bytes(found[0].raw)
        await rig.folder._take(files.look(rig.path)[0])
        rig.outlet.flush()
        assert len(rig.past(1)) == 1
        assert len(rig.names("done")) == 2

    asyncio.run(main())


def test_a_part_that_starts_anew_knows_its_meters_by_the_file_that_was_taken_last(tmp_path):
    async def main():
        rig = Rig(tmp_path)
        collector = next(iter(rig.sim._collectors.values()))
        collector.write(END_NS)
        await rig.folder.look()
        fresh = Rig(tmp_path)
        await fresh.folder.remember()
        await fresh.folder.look()
        fresh.outlet.flush()
        assert [one.health.state for one in fresh.meters] == [State.ONLINE] * 4
        assert fresh.tag(0, "file_age_s")[0] < 60.0
        assert fresh.past(1) == [], "what is in the history is not told again"
        (done,) = (fresh.path / "done").glob("*.csv")
        os.utime(done, (1e9, 1e9))
        late = Rig(tmp_path)
        await late.folder.remember()
        assert late.meters[0].health.state is not State.ONLINE

    asyncio.run(main())


# ---- the simulated collector


def test_the_same_seed_writes_the_same_file(tmp_path):
    rigs = [Rig(tmp_path, world_clock=VirtualClock()) for _ in range(2)]
    texts = [next(iter(rig.sim._collectors.values())).text(END_NS) for rig in rigs]
    assert texts[0] == texts[1]
    assert texts[0].splitlines()[1].startswith("H061,2026-09-21T23:00:00+09:00,")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_begins_and_ends(tmp_path, kind):
    async def main():
        rig = Rig(tmp_path)
        collector = next(iter(rig.sim._collectors.values()))
        good = collector.text(END_NS)
        for index in (0, 2):
            await rig.sim.set_fault(CityFault(rig.devices[index].name, kind, 0.0, {}))
            assert rig.sim.state(rig.devices[index].name)["written"] == 0
            await rig.sim.clear_fault(rig.devices[index].name)
            assert collector.text(END_NS) == good
        with pytest.raises(FaultError, match="no further"):
            await rig.sim.set_fault(CityFault(rig.devices[0].name, kind, 0.0, {"x": 1}))

    asyncio.run(main())
