"""The check of a journal finds every kind of tampering, and names file, line, entry, what and when."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from simulation import seeds

from gwanje.core.authority.keys import Signer, SiteKeys
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.journal import writer
from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    UNSIGNED_MAX,
    Head,
    body_of,
    files_of,
    head_path,
    parse_line,
    read,
    seal,
)
from gwanje.core.journal.disk import RESERVE_BYTES
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.taking_up import TAIL_BYTES
from gwanje.core.journal.verify import VerifyReport, verify
from gwanje.core.journal.writer import Journal

NOTE = EntryKind.COMMAND_REQUESTED


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SiteKeys:
    return SiteKeys.create(tmp_path_factory.mktemp("keys") / "security", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def filled(path: Path, n: int = 8, signer: Signer | None = None, close: bool = True) -> Journal:
    """A journal of one start and n - 1 commands, a second apart."""
    clock = VirtualClock()
    journal = Journal.open(path, clock, signer)
    for index in range(n - 1):
        clock.advance_ns(NS_PER_S)
        journal.append(NOTE, point="control.tie.import_setpoint_w", value=float(index))
    if close:
        journal.close()
    return journal


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def resealed(lines: list[bytes], at: int, **changes: object) -> list[bytes]:
    """A forger's chain: one entry changed, and every hash from there on made right again."""
    previous = bytes.fromhex(parse_line(lines[at - 1]).hash)
    forged = list(lines[:at])
    for index, line in enumerate(lines[at:]):
        entry = parse_line(line)
        data = {**entry.data, **(changes if index == 0 else {})}
        sealed, previous = seal(previous, body_of(entry.seq, entry.utc_ns, entry.kind, data))
        forged.append(sealed)
    return forged


def unsigned_head(path: Path, closed: bool = True) -> None:
    """A head that fits the chain, as anybody can write it who has no key."""
    last = parse_line(lines_of(path)[-1])
    head_path(path).write_bytes(Head.make(last.seq, last.hash, last.utc_ns, closed, None).to_bytes())


# ---------------------------------------------------------------- chain: line, entry, when, and reason


def test_verify_names_line_entry_what_and_when_of_a_changed_entry(path: Path) -> None:
    filled(path)
    lines = lines_of(path)
    lines[3] = lines[3].replace(b'"value":2.0', b'"value":9.0')
    path.write_bytes(b"".join(lines))
    report = verify(path)
    assert [fault.line for fault in report.faults] == [4]
    fault = report.faults[0]
    assert (fault.file, fault.seq, fault.kind) == ("journal.jsonl", 4, "command_requested")
    assert fault.text() == (
        "journal.jsonl line 4: entry 4 was changed, or the one before it (entry 4 command_requested, dated "
        "2026-01-01T00:00:03.000Z); the last entry that holds before it is of 2026-01-01T00:00:02.000Z"
    )
    assert "chain BROKEN" in report.text()
    assert json.loads(json.dumps(report.to_table()))["ok"] is False


def test_verify_finds_an_entry_changed_with_a_new_hash(path: Path) -> None:
    filled(path)
    lines = lines_of(path)
    body = lines[3][:-76].replace(b'"value":2.0', b'"value":9.0') + b"}"
    previous = bytes.fromhex(parse_line(lines[2]).hash)
    lines[3] = body[:-1] + b',"hash":"' + hashlib.sha256(previous + body).hexdigest().encode() + b'"}\n'
    path.write_bytes(b"".join(lines))
    assert [fault.line for fault in verify(path).faults] == [5]


@pytest.mark.parametrize("at", [0, 1, 4, 6])
def test_verify_finds_a_missing_entry(path: Path, at: int) -> None:
    filled(path)
    lines = lines_of(path)
    del lines[at]
    path.write_bytes(b"".join(lines))
    faults = verify(path).faults
    assert [fault.line for fault in faults] == [at + 1]
    assert f"entries {at + 1} to {at + 1} are missing" in faults[0].reason


def test_verify_finds_entries_cut_off_at_the_end_and_a_start_does_not_hide_it(path: Path) -> None:
    filled(path)
    path.write_bytes(b"".join(lines_of(path)[:-2]))
    assert "entries 7 to 8 are missing at the end" in verify(path).faults[0].reason
    Journal.open(path, VirtualClock()).close()
    faults = verify(path).faults
    assert [fault.line for fault in faults] == [7]
    assert "entries up to 8 were there before this start and are missing" in faults[0].reason


def test_verify_finds_entries_added_while_nothing_ran_and_a_start_does_not_hide_it(path: Path) -> None:
    filled(path)
    last = parse_line(lines_of(path)[-1])
    line, _ = seal(bytes.fromhex(last.hash), body_of(9, last.utc_ns, "command_accepted", {"author": "forger"}))
    path.write_bytes(path.read_bytes() + line)
    assert "1 entries were added behind entry 8, with which the journal was closed" in verify(path).faults[0].reason
    Journal.open(path, VirtualClock()).close()
    assert "entries 9 to 9 were added while nothing ran" in verify(path).faults[0].reason


def test_verify_finds_reordered_entries(path: Path) -> None:
    filled(path)
    lines = lines_of(path)
    lines[2], lines[5] = lines[5], lines[2]
    path.write_bytes(b"".join(lines))
    faults = verify(path).faults
    assert faults[0].line == 3
    assert faults[0].reason.startswith("entry 6 stands where 3 belongs")
    assert any(fault.line == 6 and fault.reason.startswith("entry 3 stands where 6 belongs") for fault in faults)


def test_verify_finds_a_repeated_and_an_inserted_entry(path: Path) -> None:
    filled(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:4], lines[3], *lines[4:]]))
    faults = verify(path).faults
    assert [(one.line, "moved or repeated" in one.reason) for one in faults] == [(5, True)]
    for added in (b'{"seq":5}\n', b"\n", b"[]\n", b'{"seq":5,"utc_ns":1,"kind":"a","data":{}}\n', b"\xff\xfe\n"):
        path.write_bytes(b"".join([*lines[:4], added, *lines[4:]]))
        assert [one.line for one in verify(path).faults] == [5]


def test_verify_finds_what_no_writer_writes(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * (ENTRY_BYTES_MAX + 10))
    assert "longer" in verify(path).faults[-1].reason
    path.write_bytes(whole + b"{")
    assert "torn" in verify(path).faults[-1].reason
    path.write_bytes(whole + bytes(RESERVE_BYTES))
    assert verify(path).ok, "zeros are the space that a killed writer had reserved"
    path.write_bytes(whole + bytes(100) + b"1" + bytes(100))
    assert not verify(path).ok
    path.write_bytes(whole + bytes(6 * RESERVE_BYTES))
    assert not verify(path).ok
    path.write_bytes(whole)
    head_path(path).write_text("nonsense")
    assert verify(path).faults[0].file == "journal.jsonl.head"


def test_a_journal_that_is_not_there_is_an_error_and_an_emptied_one_a_fault(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(path)
    filled(path)
    path.write_bytes(b"")
    assert "entries 1 to 8 are missing at the end" in verify(path).faults[0].reason


# ---------------------------------------------------------------- every byte counts


@pytest.mark.parametrize("signed", [False, True])
def test_every_flipped_byte_of_journal_and_head_is_found(path: Path, keys: SiteKeys, signed: bool) -> None:
    """Each position of both files, with each single bit and with random bytes."""
    filled(path, 4, keys.signer if signed else None)
    public = keys if signed else None
    assert verify(path, public).ok
    choose = random.Random(7)
    for one in (path, head_path(path)):
        whole = one.read_bytes()
        for at in range(len(whole)):
            for flip in (1 << choose.randrange(8), choose.randint(1, 255)):
                one.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
                assert not verify(path, public).ok, f"{one.name}: byte {at} ^ {flip}"
        one.write_bytes(whole)


def test_every_truncation_and_every_removed_byte_is_found(path: Path) -> None:
    filled(path, 4)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        assert not verify(path).ok, f"cut at {at}"
        path.write_bytes(whole[:at] + whole[at + 1 :])
        assert not verify(path).ok, f"without byte {at}"


def test_random_tampering_with_lines_is_found(path: Path, keys: SiteKeys) -> None:
    filled(path, 30, keys.signer)
    whole = lines_of(path)
    for seed in seeds(300):
        choose, lines = random.Random(seed), list(whole)
        for _ in range(choose.randint(1, 3)):
            at, other = choose.randrange(len(lines)), choose.randrange(len(lines))
            match choose.randrange(4):
                case 0:
                    lines[at], lines[other] = lines[other], lines[at]
                case 1:
                    del lines[at]
                case 2:
                    lines.insert(at, lines[other])
                case 3:
                    lines = lines[: max(1, at)]
        path.write_bytes(b"".join(lines))
        assert verify(path, keys).ok == (lines == whole), f"seed {seed}"


# ---------------------------------------------------------------- a forger who knows the form, but not the key


def test_a_chain_rewritten_as_a_whole_is_caught_by_the_signatures_alone(path: Path, keys: SiteKeys) -> None:
    filled(path, 8, keys.signer)
    lines = lines_of(path)
    at = next(index for index, line in enumerate(lines) if b'"value":2.0' in line)
    path.write_bytes(b"".join(resealed(lines, at, value=9.0)))
    assert "is not the one that the head noted" in verify(path, keys).text()
    unsigned_head(path)
    report = verify(path, keys)
    assert not report.ok
    assert "although the site has keys" in report.text()
    assert "a signature over another chain" in report.text()
    assert "not checked" in verify(path).text(), "without public keys it must not look checked"


def test_a_journal_replaced_by_one_without_any_signature_is_caught(path: Path, keys: SiteKeys) -> None:
    filled(path, 8)
    report = verify(path, keys)
    assert [one.reason for one in report.faults] == [
        "not signed, although the site has keys: replaced, or no core ran since `gwanje keys init`"
    ]


def test_a_signature_of_a_key_that_the_site_never_had_is_caught(path: Path, keys: SiteKeys) -> None:
    filled(path, 4, Signer(Ed25519PrivateKey.generate().private_bytes_raw()))
    assert "which the site never had" in verify(path, keys).text()


def test_an_old_head_put_in_place_of_the_new_one_is_caught(path: Path, keys: SiteKeys) -> None:
    journal = filled(path, 8, keys.signer, close=False)
    journal.sync()
    old = head_path(path).read_bytes()
    for _ in range(UNSIGNED_MAX + 1):
        journal.append(NOTE)
    journal.sync()
    assert verify(path, keys).ok
    head_path(path).write_bytes(old)
    assert "an older head was put in its place" in verify(path, keys).faults[0].reason


def test_entries_appended_by_a_forger_are_caught_beyond_the_limit_and_told_within(path: Path, keys: SiteKeys) -> None:
    journal = filled(path, 8, keys.signer, close=False)
    journal.sync()
    whole = path.read_bytes().rstrip(b"\0")
    last = parse_line(whole.splitlines()[-1])
    for added in (1, UNSIGNED_MAX, UNSIGNED_MAX + 1):
        previous, block = bytes.fromhex(last.hash), whole
        for seq in range(last.seq + 1, last.seq + 1 + added):
            line, previous = seal(previous, body_of(seq, last.utc_ns, "command_accepted", {"author": "forger"}))
            block += line
        path.write_bytes(block)
        report = verify(path, keys)
        assert report.ok == (added <= UNSIGNED_MAX)
        assert f"the last {added} entries are not covered by the head yet" in report.text() or not report.ok


def test_a_removed_head_is_a_fault_once_there_are_signatures(path: Path, keys: SiteKeys) -> None:
    filled(path, 4, keys.signer)
    head_path(path).unlink()
    assert not verify(path, keys).ok
    assert not verify(path).ok


def test_unsigned_is_said_clearly(path: Path) -> None:
    filled(path)
    report = verify(path)
    assert report.ok
    assert "unsigned: no keys; make them with `gwanje keys init`" in report.text()
    head_path(path).unlink()
    assert "would not be found" in verify(path).text()


def test_a_rollback_of_journal_and_head_is_caught_by_who_noted_an_end(path: Path, keys: SiteKeys) -> None:
    filled(path, 4, keys.signer)
    copy = path.parent / "copy"
    copy.mkdir()
    for one in (path, head_path(path)):
        shutil.copy(one, copy)
    filled(path, 4, keys.signer)
    noted = verify(path, keys)
    for one in copy.iterdir():
        shutil.copy(one, path.parent)
    assert verify(path, keys).ok, "the files alone cannot tell"
    expect = (noted.last_seq, noted.last_hash[:16])
    assert "the journal was replaced" in verify(path, keys, expect=expect).text()
    assert verify(path, keys, expect=(3, list(read(path))[2].hash[:12])).ok


# ---------------------------------------------------------------- what a start does with a bad tail


TORN = [b"{", b'{"seq":9,"utc_ns":17', b"\x00\x00\x00\x00", '{"seq":9,"kind":"한'.encode()[:-1]]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_cut_kept_beside_and_said(path: Path, torn: bytes) -> None:
    filled(path, close=False)._disk.close()
    path.write_bytes(path.read_bytes().rstrip(b"\0") + torn)
    Journal.open(path, VirtualClock()).close()
    entries = list(read(path))
    if torn.strip(b"\0"):
        assert [entry.kind for entry in entries[-2:]] == ["journal_repaired", "journal_opened"]
        assert entries[-2].data["cut_bytes"] == len(torn)
        assert path.with_name("journal.jsonl.cut-after-8").read_bytes() == torn
    else:
        assert entries[-1].kind == "journal_opened"
    assert verify(path).ok


def test_every_possible_tear_of_the_last_line_is_repaired(path: Path) -> None:
    filled(path, 3, close=False)._disk.close()
    whole, head = path.read_bytes().rstrip(b"\0"), head_path(path).read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(whole)):
        path.write_bytes(whole[:cut])
        head_path(path).write_bytes(head)
        path.with_name("journal.jsonl.cut-after-2").unlink(missing_ok=True)
        Journal.open(path, VirtualClock()).close()
        assert verify(path).ok, cut
        assert [entry.kind for entry in read(path)][-2] == "journal_repaired"


def test_a_tampered_tail_is_set_aside_untouched_and_stays_a_fault(path: Path, keys: SiteKeys) -> None:
    filled(path, signer=keys.signer)
    broken = path.read_bytes().replace(b'"value":3.0', b'"value":4.0') + b"torn"
    path.write_bytes(broken)
    opened = Journal.open(path, VirtualClock(), keys.signer)
    assert opened.broken_files == 1, "an alarm stands on it"
    opened.close()
    aside = path.with_name("journal-000001-broken.jsonl")
    assert aside.read_bytes() == broken
    first = parse_line(lines_of(path)[0])
    assert first.kind == "journal_set_aside"
    assert first.data["sha256"] == hashlib.sha256(broken).hexdigest()
    report = verify(path, keys)
    assert (report.faults[0].file, report.faults[0].line) == (aside.name, 6)
    assert ("journal.jsonl", 1) in [(one.file, one.line) for one in report.faults]
    assert "was found tampered with and set aside" in report.text()
    aside.write_bytes(broken.replace(b"torn", b"TORN"))
    assert "was changed after it was set aside" in verify(path, keys).text()
    aside.unlink()
    assert "segments" in verify(path, keys).text() or "missing before" in verify(path, keys).text()


def test_bytes_that_are_no_journal_are_set_aside(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(3 * TAIL_BYTES).replace(b"\n", b"-"))
    Journal.open(path, VirtualClock()).close()
    assert parse_line(lines_of(path)[0]).kind == "journal_set_aside"
    assert path.with_name("journal-000001-broken.jsonl").exists()


def test_a_kill_between_setting_aside_and_telling_of_it_is_survived(path: Path, keys: SiteKeys) -> None:
    filled(path, signer=keys.signer)
    path.write_bytes(path.read_bytes().replace(b'"value":3.0', b'"value":4.0'))
    path.rename(path.with_name("journal-000001-broken.jsonl"))
    Journal.open(path, VirtualClock(), keys.signer).close()
    first = parse_line(lines_of(path)[0])
    assert first.kind == "journal_set_aside"
    assert first.seq > 8


# ---------------------------------------------------------------- segments


@pytest.fixture
def long(path: Path, keys: SiteKeys, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of several segments."""
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 4_000)
    filled(path, 100, keys.signer)
    assert len(files_of(path)) > 4
    return path


def checked(path: Path, keys: SiteKeys, **options: bool) -> VerifyReport:
    return verify(path, keys, **options)


def test_a_changed_byte_in_an_old_segment_is_named_with_its_file(long: Path, keys: SiteKeys) -> None:
    second = files_of(long)[1]
    content = second.read_bytes()
    second.write_bytes(content.replace(b'"value":', b'"valve":', 1))
    faults = checked(long, keys).faults
    assert [one.file for one in faults] == ["journal-000002.jsonl"]
    second.write_bytes(content[:-1])
    assert checked(long, keys).faults[0].file == "journal-000002.jsonl"


def test_a_missing_first_middle_and_last_segment_are_found(long: Path, keys: SiteKeys) -> None:
    for one in files_of(long):
        content = one.read_bytes()
        one.unlink()
        faults = checked(long, keys).faults
        assert any("missing" in fault.reason for fault in faults), one.name
        one.write_bytes(content)
    assert checked(long, keys).ok


def test_swapped_segments_are_found(long: Path, keys: SiteKeys) -> None:
    first, second = files_of(long)[1:3]
    first.rename(long.with_name("x"))
    second.rename(first)
    long.with_name("x").rename(second)
    assert not checked(long, keys).ok


def test_archived_segments_can_be_left_out_on_request(long: Path, keys: SiteKeys) -> None:
    for one in files_of(long)[:2]:
        one.unlink()
    report = checked(long, keys, partial=True)
    assert report.ok, report.text()
    assert "lie elsewhere and were not checked" in report.text()
    third = files_of(long)[0]
    third.write_bytes(third.read_bytes().replace(b'"value":', b'"valve":', 1))
    assert not checked(long, keys, partial=True).ok


def test_a_journal_that_is_being_written_is_checked_as_it_grows(
    path: Path, keys: SiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer goes on, over several segments, each time that the check looks at the folder."""
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 4_000)
    journal = filled(path, 20, keys.signer, close=False)
    left = [40]
    plain = Path.iterdir

    def looked(folder: Path):
        if left[0]:
            left[0] -= 1
            for _ in range(7):
                journal.append(NOTE, n=left[0])
            journal.sync()
        return plain(folder)

    monkeypatch.setattr(Path, "iterdir", looked)
    for _ in range(6):
        report = verify(path, keys)
        assert report.ok, report.text()
    monkeypatch.undo()
    journal.close()
    assert verify(path, keys).entries == len(list(read(path)))
    for line in path.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"seq", "utc_ns", "kind", "data", "hash"}
