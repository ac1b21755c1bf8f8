"""``gwanje journal``: show, export, verify, as a person uses them."""

import csv
import json
from pathlib import Path

import pytest

from gwanje.core.authority.keys import SiteKeys
from gwanje.core.cli.main import main
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.journal import writer
from gwanje.core.journal.browse import Filter, Follower
from gwanje.core.journal.chain import Entry, read
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal

POINT = "jincheon.ess1.discharge_setpoint_w"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal where a run has it: <data>/<site>/<run>/state/journal.jsonl, with keys beside the runs."""
    keys = SiteKeys.create(tmp_path / "chungbuk" / "security", 1)
    path = tmp_path / "chungbuk" / "run-1" / "state" / "journal.jsonl"
    clock = VirtualClock()
    journal = Journal.open(path, clock, keys.signer)
    for index in range(20):
        clock.advance_ns(60 * NS_PER_S)
        author = "kim" if index % 2 else "lee"
        journal.append(
            EntryKind.COMMAND_REQUESTED, point=POINT, value=float(index), unit="W", author=author, reason="=1+1"
        )
        journal.append(EntryKind.ALARM_ACKNOWLEDGED, alarm_id="error_high", author=author)
    journal.close()
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = main(["journal", *(str(one) for one in arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_verify_says_so_and_a_flipped_byte_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, "verify", path)
    assert code == 0
    assert "chain whole" in lines[0]
    assert "signatures right" in lines[0]
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"value":7.0', b'"value":8.0'))
    code, lines, _ = run(capsys, "verify", path)
    assert code == 1
    assert lines[0].startswith("journal.jsonl line 17: entry 17 was changed")
    assert "command_requested" in lines[0]
    assert "2026-01-01T00:08:00" in lines[0]
    code, lines, _ = run(capsys, "verify", path, "--json")
    assert code == 1
    assert json.loads(lines[0])["faults"][0]["line"] == 17


def test_verify_without_keys_and_with_an_expected_end(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = list(read(path))[-1]
    assert run(capsys, "verify", path, "--expect", f"{last.seq}:{last.hash[:12]}")[0] == 0
    assert run(capsys, "verify", path, "--expect", f"{last.seq}:{'0' * 12}")[0] == 1
    (path.parents[2] / "security").rename(path.parents[2] / "elsewhere")
    code, lines, _ = run(capsys, "verify", path)
    assert (code, "not checked" in lines[-1]) == (0, True)
    code, lines, _ = run(capsys, "verify", path, "--keys", path.parents[2] / "elsewhere")
    assert (code, "signatures right" in lines[0]) == (0, True)


def test_show_filters_and_speaks_both_languages(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, "show", path, "--kind", "alarm_*", "--author", "kim", "--lang", "en")
    assert len(lines) == 10
    assert all("alarm acknowledged · error_high · kim" in line for line in lines)
    _, lines, _ = run(capsys, "show", path, "--point", "jincheon.*", "--since", "2026-01-01T09:19:00")
    shown = [" ".join(line.split()[1:4]) for line in lines]
    assert shown == ["2026-01-01 09:19:00.000 KST", "2026-01-01 09:20:00.000 KST"], "the site's clock, also asked by"
    _, again, _ = run(capsys, "show", path, "--point", "jincheon.*", "--since", "2026-01-01T00:19:00+00:00")
    assert again == lines, "a zone that is given counts"
    _, elsewhere, _ = run(capsys, "show", path, "--point", "jincheon.*", "--tail", 1, "--site", path.parent)
    assert "2026-01-01 00:20:00.000 UTC" in elsewhere[0], "where no site says its zone"
    assert "명령 요청" in lines[0]
    _, lines, _ = run(capsys, "show", path, "--tail", "3", "--json")
    assert [json.loads(line)["kind"] for line in lines] == [entry.kind for entry in list(read(path))[-3:]]
    _, lines, _ = run(capsys, "show", path)
    assert len(lines) == min(50, len(list(read(path))))


def test_show_goes_on_behind_a_line_that_is_no_entry(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"nonsense\n", *lines[5:]]))
    code, shown, _ = run(capsys, "show", path, "--tail", "1000")
    assert code == 0
    assert len(shown) == len(lines) + 1
    assert "not a journal entry" in shown[5]


def test_tail_reaches_into_the_segment_before(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 2_000)
    journal = Journal.open(path, VirtualClock())
    for index in range(50):
        journal.append(EntryKind.PART_STARTED, part=f"part{index}")
    journal.close()
    _, lines, _ = run(capsys, "show", path, "--kind", "part_started", "--tail", "40")
    assert [f"part{index}" in line for index, line in enumerate(lines, start=10)] == [True] * 40


def test_export_writes_whole_entries_and_never_over_a_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = path.with_name("out.csv")
    assert run(capsys, "export", "--csv", out, path)[0] == 0
    with open(out, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = list(read(path))
    assert [int(row["seq"]) for row in rows] == [entry.seq for entry in entries]
    asked = next(row for row in rows if row["kind"] == "command_requested")
    assert asked["reason"] == "'=1+1", "a spreadsheet must not run what somebody typed"
    assert json.loads(asked["data"])["reason"] == "=1+1"
    assert run(capsys, "export", "--csv", out, path)[0] == 2
    out = path.with_name("out.jsonl")
    assert run(capsys, "export", "--jsonl", out, path, "--kind", "alarm_*")[0] == 0
    kept = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [one["seq"] for one in kept] == [entry.seq for entry in entries if entry.kind.startswith("alarm")]


def test_following_hands_out_each_entry_once_over_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 3_000)
    path = tmp_path / "journal.jsonl"
    journal = Journal.open(path, VirtualClock())
    follower = Follower(path, Filter(kinds=("part_*",)))
    seen: list[Entry] = []
    for index in range(60):
        journal.write_all([(EntryKind.PART_STARTED, {"part": str(index)})])
        if index % 4 == 0:
            seen += [one for one in follower.look() if not isinstance(one, str)]
    seen += [one for one in follower.look() if not isinstance(one, str)]
    assert [one.data["part"] for one in seen] == [str(index) for index in range(60)]
    follower.close()
    journal.close()


@pytest.mark.parametrize(
    "arguments",
    [["verify", "/nowhere/journal.jsonl"], ["show", "/nowhere/journal.jsonl"], ["export", "--csv", "x", "/nowhere/j"]],
)
def test_a_journal_that_is_not_there_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("gwanje: no journal at")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["show", "--since", "yesterday"], ["show", "--tail", "0"], ["verify", "--expect", "5"], ["export"]]
)
def test_a_wrong_argument_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["journal", *arguments])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
