"""How parts ended reaches a core that reads it late, in part, or again."""

import signal

import pytest

from gwanje.core.city.part_ends import FILE, KEPT_MAX, PartEnd, PartEnds, UntoldEnds
from gwanje.core.journal.chain import Entry
from gwanje.core.journal.texts import describe


def numbers(ends: list[PartEnd]) -> list[int]:
    return [one.number for one in ends]


def test_ends_are_given_until_they_are_told(tmp_path):
    kept, untold = PartEnds(tmp_path), UntoldEnds(tmp_path)
    assert untold.take() == []
    kept.add("heat", -signal.SIGKILL, hung=False, restarts=1, utc_ns=5)
    found = untold.take()
    assert found == [PartEnd(1, "heat", -9, False, 1, 5)]
    untold.told(found)
    assert (untold.take(), untold.restarts) == ([], {"heat": 1})
    kept.add("heat", 1, hung=False, restarts=2, utc_ns=6)
    kept.add("core", -signal.SIGTERM, hung=False, restarts=1, utc_ns=7)
    assert numbers(UntoldEnds(tmp_path).take()) == [2, 3], "a core started anew knows what the one before told"
    assert numbers(untold.take()) == [2, 3]


def test_the_file_is_bounded(tmp_path):
    kept = PartEnds(tmp_path)
    for number in range(3 * KEPT_MAX):
        kept.add("a_part_with_a_long_name", -9, hung=True, restarts=number, utc_ns=1_800_000_000_000_000_000)
    assert numbers(UntoldEnds(tmp_path).take()) == list(range(2 * KEPT_MAX + 1, 3 * KEPT_MAX + 1))


@pytest.mark.parametrize("content", ["{", "[]", '{"ends": 3}', '{"ends": [{"number": 1}]}', '{}', '{"ends": [7]}', (
    '{"ends": [{"number": "1", "part": "a", "code": 0, "hung": false, "restarts": 0, "utc_ns": 1}]}'
)])  # fmt: skip
def test_a_damaged_file_is_an_error_of_its_own(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=r"damaged|another kind"):
        UntoldEnds(tmp_path).take()


@pytest.mark.parametrize(("code", "hung", "ko", "en"), [
    (-9, False, "프로세스가 죽음 · heat · 신호: SIGKILL", "part died · heat · signal: SIGKILL"),
    (-9, True, "프로세스가 죽음 · heat · 신호: SIGKILL · 응답 없음: 1",
     "part died · heat · signal: SIGKILL · hung: 1"),
    (0, False, "프로세스가 죽음 · heat · 종료 코드: 0", "part died · heat · exit code: 0"),
    (-63, False, "프로세스가 죽음 · heat · 신호: signal 63", "part died · heat · signal: signal 63"),
])  # fmt: skip
def test_an_end_reads_as_a_sentence(code, hung, ko, en):
    entry = Entry(1, 1, "part_ended", PartEnd(1, "heat", code, hung, 2, 5).entry(), "00" * 32)
    assert (describe(entry, "ko"), describe(entry, "en")) == (ko, en)
