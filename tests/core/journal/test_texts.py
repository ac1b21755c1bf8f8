"""Every kind of entry has a text in both languages, and every act that must be recorded has a kind."""

import pytest

from gwanje.core.journal.chain import Entry
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.texts import TITLES, describe, title


def entry(kind: str, **data: object) -> Entry:
    return Entry(7, 1_767_225_600_000_000_000, kind, data, "00" * 32)


@pytest.mark.parametrize("kind", EntryKind)
def test_every_kind_has_a_text_in_both_languages(kind: EntryKind) -> None:
    ko, en = TITLES[kind]
    assert any("가" <= sign <= "힣" for sign in ko)
    assert en.isascii()
    assert kind.value not in (ko, en), "the text is for people"


def test_no_two_kinds_read_the_same() -> None:
    for lang in (0, 1):
        titles = [one[lang] for one in TITLES.values()]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    "words",
    [
        ("command", "requested"), ("command", "accepted"), ("command", "confirmed"), ("command", "refused"),
        ("command", "expired"), ("command", "timed_out"), ("command", "cancelled"), ("alarm", "acknowledged"),
        ("alarm", "shelved"), ("alarm", "unshelved"), ("safety_tag", "placed"), ("safety_tag", "removed"),
        ("tuning",), ("signed_in",), ("signed_out",), ("sign_in_failed",), ("session_locked",), ("replay", "started"),
        ("replay", "ended"), ("listen_in", "started"), ("listen_in", "ended"), ("area_taken",), ("area_released",),
        ("lease_granted",), ("lease_released",), ("lease_expired",), ("gate_changed",), ("user_changed",),
    ],
)  # fmt: skip
def test_every_act_that_must_be_recorded_has_a_kind(words: tuple[str, ...]) -> None:
    assert any(all(word in kind for word in words) for kind in EntryKind), words


def test_a_command_reads_as_a_sentence_in_both_languages() -> None:
    asked = entry(
        "command_requested", point="control.tie.import_setpoint_w", value=300_000.0, unit="W", author="kim",
        role="operator", reason="evening peak", command_id="x",
    )  # fmt: skip
    assert describe(asked, "en") == (
        "command requested · control.tie.import_setpoint_w ← 300000 W · kim (operator) · reason: evening peak"
    )
    assert describe(asked, "ko").startswith("명령 요청 · control.tie.import_setpoint_w ← 300000 W · kim (operator)")
    assert "사유: evening peak" in describe(asked, "ko")


def test_no_value_is_left_out_because_it_is_zero_or_false() -> None:
    assert "read-only: 0" in describe(entry("gate_changed", author="kim", read_only=False), "en")
    assert "← 0 W" in describe(entry("command_requested", point="a.b.c", value=0.0, unit="W"), "en")
    assert "readback: 0" in describe(entry("command_confirmed", point="a.b.c", readback=0.0), "en")


def test_a_refusal_tells_the_operator_text_of_its_code() -> None:
    refused = entry("command_refused", point="a.b.c", author="kim", code="stale_view", detail="3.0 s")
    assert "what the author saw is too old" in describe(refused, "en")
    assert "화면에서 본 값이 오래되었습니다" in describe(refused, "ko")
    assert "some_later_code" in describe(entry("command_refused", code="some_later_code"), "en")


def test_what_is_shown_cannot_command_a_terminal() -> None:
    forged = entry("command_refused", author="kim\x1b[2J\n000 all is well\u202e", reason="x" * 10_000)
    shown = describe(forged, "en")
    assert shown.isprintable()
    assert len(shown) < 400


def test_a_kind_of_a_later_version_is_shown_as_it_is() -> None:
    assert title("something_new", "ko") == "something_new"
    assert "kim" in describe(entry("something_new", author="kim"), "ko")


def test_a_command_confirmed_at_another_value_says_why_and_not_refused():
    done = entry(
        "command_confirmed", point="charging.ev001.limit_w", value=5_000.0, author="kim", code="group_share",
        detail="group1: 3520 W", readback=3520.0,
    )  # fmt: skip
    assert "why: its group's share is less: it keeps that" in describe(done, "en")
    assert "까닭: 그룹 몫이 더 작아 그만큼만 충전합니다" in describe(done, "ko")
    assert "refused" not in describe(done, "en")
