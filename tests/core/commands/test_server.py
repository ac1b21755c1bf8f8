"""The command path: one check for everybody, the journal first, every outcome told."""

import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import SystemClock
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.ground import REFUSAL_BURST
from gwanje.core.commands.messages import (
    Accepted,
    Command,
    Confirmed,
    Expired,
    Granted,
    Released,
    TimedOut,
    from_message,
    to_message,
)
from gwanje.core.commands.operating import BURST, PENDING_MAX
from gwanje.core.journal.chain import JournalError, read
from gwanje.core.journal.desk import OWED_MAX
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.verify import verify
from gwanje.core.requests import REASONS, Code, Refused, RequestError

from .world import ESS1, ESS2, IMPORT, TAGS, S, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# ---------------------------------------------------------------- outcomes


def test_a_good_command_is_journalled_forwarded_answered_journalled(world: World) -> None:
    assert world.write() is None
    owner, command = world.forwarded[0]
    assert owner == "control"
    assert (command.point, command.value, command.role) == (IMPORT, 300_000.0, Role.OPERATOR)
    outcome = world.owner_says(Accepted(command.command_id))
    assert outcome == Accepted(command.command_id)
    assert world.kinds() == ["command_requested", "command_accepted"]
    requested = list(read(world.path))[1].data
    assert (requested["author"], requested["reason"], requested["value"]) == ("kim", "evening peak", 300_000.0)
    assert world.announced == ["command_sent", "command_accepted"]
    assert verify(world.path).ok


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Confirmed("x", 299_000.0), "command_confirmed"),
        (Refused(Code.OWNER, "local mode"), "command_refused"),
        (Expired("x"), "command_expired"),
        (None, "command_timed_out"),
    ],
)
def test_every_answer_of_an_owner_is_told_and_journalled(world: World, answer: Any, kind: str) -> None:
    world.write()
    command_id = world.forwarded[0][1].command_id
    outcome = world.owner_says(answer)
    expected = TimedOut(command_id) if answer is None else replace(answer, command_id=command_id)
    assert outcome == expected
    assert world.kinds() == ["command_requested", kind]


NONSENSE = [
    {}, {"outcome": "done"}, {"outcome": "granted"}, {"outcome": "confirmed"}, {"outcome": "refused", "code": "?"},
    {"outcome": "confirmed", "readback": []}, {"outcome": "released", "name": "x"},
]  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_owner_that_talks_nonsense_has_refused(world: World, nonsense: dict[str, Any]) -> None:
    world.write()
    world.server.finished(world.forwarded[0][1].command_id, nonsense)
    outcome = from_message(world.replies[-1])
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.OWNER


def test_an_answer_to_nothing_is_ignored(world: World) -> None:
    world.server.finished("nobody", to_message(Accepted("nobody")))
    assert world.replies == []


# ---------------------------------------------------------------- refusals: each reason


LATE = 1_000 * S


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"point": "control.tie.nothing"}, Code.UNKNOWN_POINT),
        ({"point": "grid.tie.import_w"}, Code.NOT_WRITABLE),
        ({"value": 1e6 + 1}, Code.OUT_OF_RANGE),
        ({"value": -1e6 - 1}, Code.OUT_OF_RANGE),
        ({"value": math.nan}, Code.NOT_FINITE),
        ({"value": math.inf}, Code.NOT_FINITE),
        ({"value": -math.inf}, Code.NOT_FINITE),
        ({"value": 10**400}, Code.NOT_FINITE),
        ({"value": "300000"}, Code.MALFORMED),
        ({"value": True}, Code.MALFORMED),
        ({"value": None}, Code.MALFORMED),
        ({"value": ...}, Code.MALFORMED),
        ({"unit": "kW"}, Code.WRONG_UNIT),
        ({"session": ""}, Code.NOT_SIGNED_IN),
        ({"session": ...}, Code.NOT_SIGNED_IN),
        ({"session": 7}, Code.NOT_SIGNED_IN),
        ({"session": "guessed"}, Code.SESSION_OVER),
        ({"session": "kim/viewer"}, Code.ROLE),
        ({"author": "kim"}, Code.MALFORMED),
        ({"role": "admin"}, Code.MALFORMED),
        ({"reason": ""}, Code.MALFORMED),
        ({"reason": "x" * 401}, Code.MALFORMED),
        ({"reason": "a\x00b"}, Code.MALFORMED),
        ({"point": "x" * 129}, Code.MALFORMED),
        ({"command_id": ""}, Code.MALFORMED),
        ({"command_id": 5}, Code.MALFORMED),
        ({"expires_mono_ns": ...}, Code.MALFORMED),
        ({"expires_mono_ns": 2**70}, Code.MALFORMED),
        ({"expires_mono_ns": LATE + 61 * S}, Code.EXPIRY),
        ({"expires_mono_ns": LATE}, Code.EXPIRY),
        ({"issued_mono_ns": LATE + 1}, Code.EXPIRY),
        ({"issued_mono_ns": -1}, Code.MALFORMED),
        ({"seen_mono_ns": LATE - 2 * S - 1}, Code.STALE_VIEW),
        ({"seen_mono_ns": LATE + 1}, Code.STALE_VIEW),
        ({"sudo": True}, Code.MALFORMED),
        ({"op": "write!"}, Code.MALFORMED),
        ({"op": ...}, Code.MALFORMED),
    ],
)
def test_what_is_refused_and_why(world: World, changes: dict[str, Any], code: Code) -> None:
    outcome = world.write(**changes)
    assert isinstance(outcome, Refused), outcome
    assert outcome.code is code
    assert world.forwarded == []
    assert world.kinds() == ["command_refused"]
    reply = world.replies[-1]
    assert reply["text_ko"].startswith(REASONS[code][0])
    assert reply["text_en"].startswith(REASONS[code][1])
    assert verify(world.path).ok


ALLOWED = [
    {"value": 1e6}, {"value": -1e6}, {"value": 3}, {"unit": ""}, {"unit": ...}, {"area": ...},
    {"seen_mono_ns": LATE - S}, {"expires_mono_ns": LATE + 60 * S},
]  # fmt: skip


@pytest.mark.parametrize("changes", ALLOWED)
def test_what_is_just_allowed(world: World, changes: dict[str, Any]) -> None:
    assert world.write(**changes) is None
    assert len(world.forwarded) == 1


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.SUPERVISOR, Role.ENGINEER, Role.ADMIN])
def test_every_other_role_may_command(world: World, role: Role) -> None:
    assert world.write(session=f"kim/{role}") is None
    assert len(world.forwarded) == 1


def test_an_expired_command_is_not_forwarded(world: World) -> None:
    now = world.clock.mono_ns()
    world.clock.advance_ns(5 * S)
    outcome = world.write(command_id="late", issued_mono_ns=now, expires_mono_ns=now + 5 * S)
    assert outcome == Expired("late")
    assert world.forwarded == []
    assert world.kinds() == ["command_expired"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_stepped_wall_clock_expires_nothing_and_revives_nothing(world: World, hours: int) -> None:
    world.lease()
    world.clock.step_utc_ns(hours * 3600 * S)
    assert world.write() is None
    now = world.clock.mono_ns()
    world.clock.advance_ns(4 * S)
    world.clock.step_utc_ns(-hours * 7200 * S)
    world.server.step()
    assert world.until["tie_line"] == now + 5 * S, "the lease lives by the monotonic clock"
    assert world.write(command_id="old", issued_mono_ns=now, expires_mono_ns=now + 4 * S) == Expired("old")
    world.clock.advance_ns(S)
    world.server.step()
    assert world.until["tie_line"] == 0


def test_a_replayed_command_is_refused_also_after_it_was_done(world: World) -> None:
    world.write(command_id="once")
    assert world.write(command_id="once").code is Code.REPLAYED
    world.owner_says(Accepted("once"))
    assert world.write(command_id="once", value=5.0).code is Code.REPLAYED
    world.clock.advance_ns(61 * S)
    world.server.step()
    now = world.clock.mono_ns()
    old = world.write(command_id="once", issued_mono_ns=now - 61 * S, expires_mono_ns=now - 56 * S)
    assert old == Expired("once"), "when its id is forgotten the command itself has long expired"
    assert len(world.forwarded) == 1


def test_a_point_takes_only_so_many_commands(world: World) -> None:
    outcomes = [world.write(command_id=f"c{index}") for index in range(BURST + 3)]
    assert [outcome is None for outcome in outcomes] == [True] * BURST + [False] * 3
    assert outcomes[-1].code is Code.RATE
    assert world.write(command_id="other", point=ESS1) is None, "another point is not affected"
    world.clock.advance_ns(S)
    assert world.write(command_id="later") is None


def test_commands_under_way_are_limited(world: World) -> None:
    for index in range(PENDING_MAX):
        assert world.write(command_id=f"c{index}") is None
        world.clock.advance_ns(S)
    assert world.write(command_id="more").code is Code.BUSY
    world.server.finished("c0", None)
    assert world.write(command_id="more2") is None


def test_a_storm_of_refusals_is_counted_not_lost(world: World) -> None:
    for index in range(REFUSAL_BURST + 200):
        world.write(command_id=f"c{index}", session="kim/viewer")
    assert world.kinds() == ["command_refused"] * REFUSAL_BURST
    assert world.server.refused == REFUSAL_BURST + 200
    world.clock.advance_ns(60 * S)
    world.server.step()
    last = list(read(world.path))[-1]
    assert (last.kind, last.data["refused"]) == ("commands_muted", 200)


def test_a_program_that_asks_the_same_again_and_again_gets_one_entry_a_minute(world: World) -> None:
    world.ask({"op": "gate", "read_only": True, "session": "park/supervisor", "reason": "crew on site"})
    for _ in range(480):
        assert world.lease().code is Code.READ_ONLY
        world.clock.advance_ns(S // 4)
    assert world.kinds().count("lease_refused") == 2
    world.write(session="kim/operator")
    assert world.kinds()[-1] == "command_refused", "what people are told is not crowded out"


def test_the_sites_read_only_gate(tmp_path: Path) -> None:
    world = World(tmp_path, read_only=True)
    assert world.write().code is Code.READ_ONLY
    assert world.lease().code is Code.READ_ONLY
    gate = {"op": "gate", "read_only": False, "session": "park/admin", "reason": "open"}
    assert world.ask(gate).code is Code.READ_ONLY, "what the site's file closed nobody opens by a message"


def test_a_person_closes_and_opens_the_gate(world: World) -> None:
    world.lease()
    gate = {"op": "gate", "read_only": True, "session": "park/supervisor", "reason": "crew on site"}
    assert world.ask({**gate, "session": "park/operator"}).code is Code.ROLE
    assert world.ask({**gate, "read_only": 1}).code is Code.MALFORMED
    assert isinstance(world.ask(gate), Released)
    assert world.until["tie_line"] == 0, "no lease outlives the gate"
    assert world.write().code is Code.READ_ONLY
    again = World(world.path.parent / "again", world.clock)
    again.server.take_up(world.state, gate=world.gate)
    assert again.write().code is Code.READ_ONLY, "a restarted core keeps the gate closed"
    assert isinstance(world.ask({**gate, "read_only": False}), Released)
    assert world.write() is None
    assert [kind for kind in world.kinds() if kind == "gate_changed"] == ["gate_changed"] * 2


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
JUNK = st.recursive(
    LEAVES | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["op", "command_id", "point", "value", "unit", "session", "author", "role", "area", "reason", "issued_mono_ns",
     "issued_utc_ns", "expires_mono_ns", "seen_mono_ns", "seen_value", "name", "points", "ttl_s", "lease_id",
     "read_only", "select_id", "accept_warnings", "retyped", "outcome", "code", "detail", "scope", "kind", "review_s",
     "tag_id"]
)  # fmt: skip
OPS = st.sampled_from(
    ["write", "lease", "renew", "release", "give_back", "gate", "leases", "select", "check", "execute", "second",
     "cancel", "progress", "operations", "place_tag", "remove_tag", "safety_tags"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(OPS, st.dictionaries(KEYS, JUNK, max_size=3)), max_size=8))
def test_forged_messages_never_pass_and_never_break_the_chain(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, dict[str, Any]]]
) -> None:
    world = World(tmp_path_factory.mktemp("forged"))
    now = world.clock.mono_ns()
    world.show(IMPORT, 0.0)
    selected = world.request("select", point=IMPORT)["select_id"]
    world.request("check", select_id=selected, value=1.0)
    asked = {"session": "kim/operator", "reason": "r"}
    write = {"point": IMPORT, "value": 1.0, "issued_mono_ns": now, "issued_utc_ns": 1, "expires_mono_ns": now + S}
    lease = {"name": "tie_line", "points": [ESS1], "ttl_s": 1.0, "session": "control/program"}
    step = {"select_id": selected, "value": 1.0, "point": IMPORT, "command_id": "c0"}
    shape: dict[str, dict[str, Any]] = {
        **dict.fromkeys(("lease", "renew", "release", "give_back", "gate"), lease),
        "place_tag": {"scope": "grid.*", "kind": "danger", "review_s": 600.0},
        "execute": {**write, "select_id": selected, "seen_value": 0.0, "seen_mono_ns": now, "accept_warnings": True},
    }  # fmt: skip
    del shape["execute"]["point"]
    for number, (op, changes) in enumerate(messages):
        fresh = {"command_id": f"c{number}"} if op in ("write", "execute") else {}
        more = {**(write if op == "write" else shape.get(op, step)), **fresh}
        replies: list[dict[str, Any]] = []
        pending = world.server.pending
        world.server.handle({"op": op, **asked, **more, **changes}, replies.append)
        assert len(replies) + world.server.pending - pending == 1, "one answer, now or from the owner"
    for _, command in world.forwarded:
        assert command.point in TAGS
        assert -1e6 <= command.value <= 1e6
        assert command.role is not Role.VIEWER
    assert verify(world.path).ok


# ---------------------------------------------------------------- the journal first


def test_a_full_disk_refuses_commands_with_the_reason(world: World) -> None:
    world.disk_full = True
    outcome = world.write()
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.JOURNAL
    assert outcome.text_en.startswith("journal cannot be written")
    assert world.forwarded == []
    assert world.lease().code is Code.JOURNAL
    assert "tie_line" not in world.until
    assert not world.desk.ok
    world.disk_full = False
    world.desk.step()
    assert world.desk.ok
    assert world.kinds() == ["command_refused", "lease_refused"], "the refusals themselves were owed and are told"
    assert world.write() is None


def test_a_disk_that_fills_between_request_and_outcome_loses_no_outcome(world: World) -> None:
    world.write()
    world.disk_full = True
    assert world.owner_says(Accepted("x")) == Accepted(world.forwarded[0][1].command_id)
    assert world.write(command_id="next").code is Code.JOURNAL
    world.disk_full = False
    world.desk.step()
    assert world.kinds() == ["command_requested", "command_accepted", "command_refused"]
    assert verify(world.path).ok


def test_nothing_leaves_while_an_earlier_entry_is_owed(world: World) -> None:
    world.lease(ttl_s=1.0)
    world.disk_full = True
    world.clock.advance_ns(2 * S)
    world.server.step()
    world.disk_full = False
    assert world.write() is None
    assert world.kinds() == ["lease_granted", "lease_expired", "command_requested"], "the order of things is kept"


def test_what_is_owed_is_limited_and_the_rest_is_counted(world: World) -> None:
    world.disk_full = True
    world.desk.note_all((EntryKind.ALARM_CHANGED, {"n": index}) for index in range(OWED_MAX + 7))
    world.disk_full = False
    world.desk.step()
    entries = list(read(world.path))
    assert (entries[-1].kind, entries[-1].data) == ("entries_lost", {"n": 7})
    assert len(entries) == 1 + OWED_MAX + 1


# ---------------------------------------------------------------- leases over the command path


def test_a_lease_is_granted_shown_renewed_released(world: World) -> None:
    granted = world.lease()
    assert isinstance(granted, Granted)
    assert granted.points == (ESS1, ESS2)
    assert world.until["tie_line"] == granted.until_mono_ns == world.clock.mono_ns() + 5 * S
    for _ in range(10):
        world.clock.advance_ns(2 * S)
        renewed = world.held("renew", granted.lease_id)
        world.server.step()
    assert renewed.until_mono_ns == world.until["tie_line"] == world.clock.mono_ns() + 5 * S
    assert isinstance(world.held("release", granted.lease_id), Released)
    assert world.until["tie_line"] == 0
    assert world.kinds() == ["lease_granted", "lease_released"], "renewals are counted, not journalled"
    assert list(read(world.path))[-1].data["renewals"] == 10


def test_an_unrenewed_lease_expires_and_is_told(world: World) -> None:
    world.lease()
    world.clock.advance_ns(5 * S)
    world.server.step()
    assert world.until["tie_line"] == 0
    assert world.kinds() == ["lease_granted", "lease_expired"]
    assert world.announced == ["lease_expired"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "unknown"}, Code.UNKNOWN_LEASE),
        ({"ttl_s": 31.0}, Code.LEASE_TTL),
        ({"ttl_s": math.nan}, Code.NOT_FINITE),
        ({"points": []}, Code.LEASE_POINTS),
        ({"points": [ESS1] * 1025}, Code.LEASE_POINTS),
        ({"points": "all"}, Code.MALFORMED),
        ({"points": ["no.such.point"]}, Code.UNKNOWN_POINT),
        ({"points": ["grid.tie.import_w"]}, Code.NOT_WRITABLE),
        ({"session": "kim/operator"}, Code.ROLE),
        ({"session": "kim/viewer"}, Code.ROLE),
        ({"session": ""}, Code.NOT_SIGNED_IN),
    ],
)
def test_leases_that_are_refused(world: World, changes: dict[str, Any], code: Code) -> None:
    outcome = world.lease(**changes)
    assert isinstance(outcome, Refused)
    assert outcome.code is code
    assert world.kinds() == ["lease_refused"]


def test_two_holders_of_one_point_are_refused(world: World) -> None:
    world.lease()
    outcome = world.lease(name="lighting", session="lamps/program", points=[ESS2])
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.detail) == (Code.LEASED, "tie_line of control")


def test_a_lease_that_cannot_be_kept_for_a_restart_is_not_given(world: World) -> None:
    world.state_full = True
    assert world.lease().code is Code.STATE
    assert world.until.get("tie_line", 0) == 0


def test_an_operators_write_narrows_then_ends_a_lease_and_says_so(world: World) -> None:
    granted = world.lease()
    world.write(point=ESS1, value=0.0)
    outcome = world.owner_says(Accepted("x"))
    assert outcome.notes == ("lease tie_line narrowed",)
    renewed = world.held("renew", granted.lease_id)
    assert renewed.points == (ESS2,), "the holder learns it at its next renewal"
    assert world.server.held_points == 1
    world.write(point=ESS2, value=0.0)
    assert world.owner_says(Accepted("x")).notes == ("lease tie_line ended",)
    assert world.until["tie_line"] == 0
    assert world.lease().code is Code.HELD
    give_back = {"op": "give_back", "points": [ESS1], "session": "kim/operator", "reason": "done"}
    assert isinstance(world.ask(give_back), Released)
    again = world.lease()
    assert (again.points, again.withheld) == ((ESS1,), (ESS2,))
    assert [kind for kind in world.kinds() if "lease" in kind or "given" in kind] == [
        "lease_granted", "lease_narrowed", "lease_released", "lease_refused", "points_given_back", "lease_granted",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [Refused(Code.OWNER, "local"), Expired("x")])
def test_a_write_that_was_not_taken_gives_the_lease_back_what_it_took(world: World, answer: Any) -> None:
    world.lease()
    world.write(point=ESS1, value=0.0)
    assert set(world.covered) == {ESS2}, "taken before it left"
    world.owner_says(answer)
    assert world.server.held_points == 0
    assert set(world.covered) == {ESS1, ESS2}


def test_a_write_of_unknown_outcome_stays_with_the_person(world: World) -> None:
    world.lease()
    world.write(point=ESS1, value=0.0)
    world.owner_says(None)
    assert world.server.held_points == 1
    assert set(world.covered) == {ESS2}


@pytest.mark.parametrize("role", ["operator", "supervisor", "engineer", "admin"])
def test_people_lease_nothing(world: World, role: str) -> None:
    assert world.lease(session=f"lee/{role}").code is Code.ROLE
    assert world.covered == {}


def test_of_two_writes_of_a_point_the_refused_ones_leave_nothing(world: World) -> None:
    world.write(point=ESS1, value=0.0, command_id="a")
    world.write(point=ESS1, value=1.0, command_id="b", session="lee/operator")
    for one in ("a", "b"):
        world.server.finished(one, to_message(Refused(Code.OWNER, "no", one)))
        assert world.server.held_points == (one == "a")
    world.write(point=ESS1, value=0.0, command_id="c")
    world.server.finished("c", to_message(Accepted("c")))
    world.write(point=ESS1, value=1.0, command_id="d", session="lee/operator")
    world.server.finished("d", to_message(Refused(Code.OWNER, "no", "d")))
    refused = world.lease(points=[ESS1])
    assert (refused.code, refused.detail) == (Code.HELD, "kim")


def test_a_point_without_a_lease_is_held_too(world: World) -> None:
    """A controller that is just being restarted would have the point a second later."""
    world.write(point=ESS1, value=0.0)
    world.owner_says(Accepted("x"))
    granted = world.lease()
    assert (granted.points, granted.withheld) == ((ESS2,), (ESS1,))


def test_a_kill_between_a_command_and_its_answer_leaves_the_point_with_the_person(world: World) -> None:
    world.lease()
    world.write(point=ESS1, value=0.0)
    again = restarted(world)
    assert set(again.covered) == {ESS2}
    assert again.server.held_points == 1


def test_what_could_not_be_kept_is_found_in_the_journal_and_tried_again(world: World) -> None:
    world.lease()
    world.state_full = True
    world.write(point=ESS1, value=0.0)
    world.owner_says(Accepted("x"))
    world.write(point=ESS2, value=0.0, command_id="refused")
    world.owner_says(Refused(Code.OWNER, "no", "refused"))
    assert world.server.status()["system.commands.kept"] == 0
    assert "leases_not_kept" in world.announced
    again = restarted(world)
    assert set(again.covered) == {ESS2}, "the state on the disk is older than the command"
    again.state_full = True
    again.write(point=IMPORT)
    again.state_full = False
    again.after(1)
    assert again.server.status()["system.commands.kept"] == 1
    assert [one["point"] for one in again.state["holds"]] == [ESS1, IMPORT]


def test_what_was_given_back_stays_given_back(world: World) -> None:
    world.lease()
    world.write(point=ESS1, value=0.0)
    world.owner_says(Accepted("x"))
    world.ask({"op": "give_back", "points": [ESS1], "session": "kim/operator", "reason": "done"})
    assert set(restarted(world).covered) == {ESS1, ESS2}


def test_programs_stay_out_of_others_leases_and_of_what_people_hold(world: World) -> None:
    world.lease()
    assert world.write(point=ESS1, session="planner/program").code is Code.LEASED
    assert world.write(point=ESS1, session="control/program") is None
    assert world.owner_says(Accepted("x")).notes == (), "the holder's own write narrows nothing"
    world.write(command_id="person", point=ESS1)
    world.owner_says(Accepted("x"))
    held = world.write(command_id="again", point=ESS1, session="control/program")
    assert (held.code, held.detail) == (Code.HELD, "kim")


def test_a_program_without_a_lease_writes_only_what_it_owns(world: World) -> None:
    stranger = world.write(point=ESS1, session="historian/program")
    assert (stranger.code, stranger.detail) == (Code.LEASE_NOT_HELD, ESS1)
    assert world.forwarded == []
    world.lease()
    assert world.write(command_id="leased", point=ESS1, session="control/program") is None
    world.clock.advance_ns(10 * S)
    world.server.step()
    over = world.write(command_id="over", point=ESS1, session="control/program")
    assert over is None or over.code is Code.LEASE_NOT_HELD
    assert (over is None) == (TAGS.get(ESS1).owner == "control"), "its own points are its own"


def test_programs_may_not_give_back_what_people_hold(world: World) -> None:
    ask = {"op": "give_back", "points": [ESS1], "session": "control/program", "reason": "mine"}
    assert world.ask(ask).code is Code.ROLE
    assert world.ask({**ask, "session": "kim/operator", "points": ["no.such.point"]}).code is Code.UNKNOWN_POINT


def test_everybody_may_see_the_leases(world: World) -> None:
    world.lease()
    world.server.handle({"op": "leases"}, world.replies.append)
    shown = world.replies[-1]
    assert [one["name"] for one in shown["leases"]] == ["tie_line"]
    assert shown["read_only"] is False


# ---------------------------------------------------------------- a restart


def restarted(world: World) -> World:
    world.journal.close()
    again = World(world.path.parent, world.clock)
    again.server.take_up(world.state, gate=world.gate)
    return again


# ---------------------------------------------------------------- the gate fails closed

CLOSE = {"op": "gate", "read_only": True, "session": "park/supervisor", "reason": "crew on site"}
OPEN = {**CLOSE, "read_only": False}


def test_a_gate_that_cannot_be_kept_is_closed_all_the_same_and_stays_so(world: World) -> None:
    world.gate_full = True
    answer = world.ask(CLOSE)
    assert (answer.code, world.gate_shown) == (Code.STATE, True), "closed at once, and it is said what is not well"
    assert world.write().code is Code.READ_ONLY
    assert world.server.status()["system.commands.kept"] == 0
    assert restarted(world).write().code is Code.READ_ONLY, "the journal has it"


def test_a_gate_is_closed_also_when_the_journal_cannot_be_written(world: World) -> None:
    world.disk_full = True
    assert world.ask(CLOSE).code is Code.JOURNAL
    assert (world.gate_shown, world.server.read_only) == (True, True)
    world.disk_full = False
    assert restarted(world).server.read_only


def test_a_gate_that_cannot_be_kept_open_is_not_opened(world: World) -> None:
    world.ask(CLOSE)
    world.gate_full = True
    assert world.ask(OPEN).code is Code.STATE
    assert (world.gate_shown, world.server.read_only) == (True, True)
    assert restarted(world).server.read_only
    world.gate_full = False
    world.after(1)
    assert world.server.read_only
    assert world.server.status()["system.commands.kept"] == 1


@pytest.mark.parametrize(
    ("gate", "trouble"), [(None, "gate.json is damaged"), ({"closed": 0}, ""), ({}, ""), ({"closed": "no"}, "")]
)
def test_a_gate_that_is_not_known_is_closed(world: World, gate: Any, trouble: str) -> None:
    world.journal.close()
    again = World(world.path.parent, world.clock)
    again.server.take_up(None, gate=gate, gate_trouble=trouble)
    assert (again.server.read_only, again.gate_shown) == (True, True)
    assert again.write().code is Code.READ_ONLY
    assert "gate_changed" in again.kinds()
    assert isinstance(again.ask(OPEN), Released), "a supervisor has looked"
    assert again.write(command_id="now") is None
    assert again.gate["closed"] is False


def test_a_gate_whose_file_is_gone_is_what_the_journal_says(world: World) -> None:
    world.ask(CLOSE)
    world.gate = None
    again = restarted(world)
    assert again.server.read_only
    again.ask(OPEN)
    again.gate = None
    assert not restarted(again).server.read_only


def test_the_core_closes_the_gate_by_itself(world: World) -> None:
    world.lease()
    world.server.close_gate("safety tags cannot be read")
    assert world.until["tie_line"] == 0
    assert restarted(world).server.read_only


def test_a_restarted_core_keeps_leases_ids_and_owns_up_to_lost_outcomes(world: World) -> None:
    granted = world.lease(ttl_s=30.0)
    world.write(command_id="done")
    world.owner_says(Accepted("done"))
    world.write(command_id="open", expires_mono_ns=world.clock.mono_ns() + 60 * S)
    world.clock.advance_ns(2 * S)
    again = restarted(world)
    assert again.until["tie_line"] == granted.until_mono_ns
    assert isinstance(again.held("renew", granted.lease_id), Granted)
    assert again.write(command_id="open").code is Code.REPLAYED
    assert again.write(command_id="done").code is Code.REPLAYED
    told = [(entry.kind, entry.data.get("command_id")) for entry in read(again.path)]
    assert ("command_timed_out", "open") in told
    assert ("command_timed_out", "done") not in told
    assert ("lease_restored", None) in told


def test_a_storm_of_alarms_does_not_push_commands_out_of_memory(world: World) -> None:
    world.lease(ttl_s=30.0)
    world.state_full = True
    world.write(command_id="done", point=ESS1, value=0.0, expires_mono_ns=world.clock.mono_ns() + 60 * S)
    world.owner_says(Accepted("done"))
    world.write(command_id="open", expires_mono_ns=world.clock.mono_ns() + 60 * S)
    for _ in range(3_000):
        world.desk.note(EntryKind.ALARM_CHANGED, alarm_id="grid.frequency.low", reason="x" * 100)
    again = restarted(world)
    assert again.write(command_id="open").code is Code.REPLAYED
    assert again.write(command_id="done").code is Code.REPLAYED
    assert set(again.covered) == {ESS2}
    told = [(entry.kind, entry.data.get("command_id")) for entry in read(again.path)]
    assert ("command_timed_out", "open") in told


def test_a_core_that_knows_nothing_of_what_was_takes_nothing_issued_before(world: World) -> None:
    world.journal.close()
    again = World(world.path.parent, world.clock)
    find, again.find = again.find, lambda *_: (_ for _ in ()).throw(JournalError(5, "Input/output error"))
    again.server.take_up(None, gate={"closed": False})
    again.find = find
    now = world.clock.mono_ns()
    assert again.write(command_id="old", issued_mono_ns=now - 1).code is Code.REPLAYED
    assert again.write(command_id="new") is None


@pytest.mark.parametrize("session", ["mallory/viewer", "lee/operator", "planner/program", "guessed"])
def test_nobody_writes_an_end_into_the_story_of_a_command(world: World, session: str) -> None:
    now = world.clock.mono_ns()
    world.write(command_id="x1", point=ESS1, value=0.0)
    for op in ("write", "execute", "second", "progress", "cancel", "no such op"):
        told = {"command_id": "x1", "point": ESS1, "value": 0.0, "outcome": "refused", "code": "refused_by_owner"}
        times = {"issued_mono_ns": now - 9 * S, "issued_utc_ns": 0, "expires_mono_ns": now - S, "reason": "r"}
        world.request(op, session, select_id="s", **told, **times)
    ours = [entry.kind for entry in read(world.path) if entry.data.get("command_id") == "x1"]
    assert ours == ["command_requested"]
    again = restarted(world)
    assert "command_timed_out" in [one.kind for one in read(again.path) if one.data.get("command_id") == "x1"]
    assert again.server.held_points == 1


def test_a_restart_after_the_lease_ran_out_shows_none(world: World) -> None:
    world.lease()
    world.clock.advance_ns(10 * S)
    again = restarted(world)
    assert again.until == {"tie_line": 0, "lighting": 0}


def test_a_damaged_lease_state_is_told_and_nothing_is_taken_from_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.server.take_up({"boot": "boot", "leases": [{"name": 3}], "holds": 7})
    assert world.until == {"tie_line": 0, "lighting": 0}
    assert world.kinds() == ["lease_refused"]


# ---------------------------------------------------------------- messages and client


@pytest.mark.parametrize(
    "answer",
    [
        Accepted("a", ("lease x narrowed",)), Confirmed("a", 1.5), Refused(Code.RATE, "p", "a"), Expired("a"),
        TimedOut("a"), Granted("n", "i", ("p", "q"), 5, ("r",)), Released("n"),
    ],
)  # fmt: skip
def test_outcomes_travel(answer: Any) -> None:
    assert from_message(to_message(answer)) == answer


OUTCOMES = ("accepted", "confirmed", "refused", "expired", "timed_out", "granted", "released")
ANSWER_KEYS = st.sampled_from(["command_id", "readback", "notes", "code", "points", "until_mono_ns", "name"])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from([*OUTCOMES, "done", ""]), st.dictionaries(ANSWER_KEYS, JUNK, max_size=4))
def test_an_answer_that_is_none_is_a_value_error(outcome: str, members: dict[str, Any]) -> None:
    try:
        answer = from_message({"outcome": outcome, **members})
    except ValueError:
        return
    assert to_message(answer)["outcome"] == outcome
    assert from_message(to_message(answer)) == answer or getattr(answer, "readback", 0.0) != getattr(
        answer, "readback", 0.0
    ), "only NaN differs from itself"


def test_every_code_has_words_in_both_languages() -> None:
    assert set(REASONS) == set(Code)
    for ko, en in REASONS.values():
        assert any("가" <= letter <= "힣" for letter in ko)
        assert en.isascii()


class PretendedBus:
    """Answers a client directly from a world's server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = world.clock
        self.fails: Exception | None = None
        self.answer: dict[str, Any] | None = None

    def request(self, name: str, message: dict[str, Any], timeout_ms: int = 0) -> dict[str, Any]:
        assert name == "command"
        if self.fails:
            raise self.fails
        if self.answer is not None:
            return self.answer
        self.world.server.handle(message, self.world.replies.append)
        if self.world.server.pending:
            command = self.world.forwarded[-1][1]
            self.world.server.finished(command.command_id, to_message(Confirmed(command.command_id, command.value)))
        return self.world.replies[-1]


def test_the_client_speaks_with_the_server(world: World) -> None:
    bus = PretendedBus(world)
    program = CommandClient(bus, "control/program")
    assert isinstance(program.renew("tie_line"), Refused), "not held yet"
    assert isinstance(program.lease("tie_line", [ESS1], 5.0, "balance"), Granted)
    assert isinstance(program.renew("tie_line"), Granted)
    person = CommandClient(bus, "kim/operator")
    outcome = person.write(ESS1, 10_000, "test", unit="W", seen_mono_ns=world.clock.mono_ns())
    assert isinstance(outcome, Confirmed)
    assert outcome.notes == ("lease tie_line ended",)
    assert isinstance(person.give_back([ESS1], "done"), Released)
    assert isinstance(program.lease("tie_line", [ESS1], 5.0, "balance"), Granted)
    assert isinstance(program.release("tie_line"), Released)
    typo = person.write(IMPORT, math.nan, "typo")
    assert isinstance(typo, Refused)
    assert (typo.code, typo.detail) == (Code.NOT_FINITE, "value is nan")


def test_the_client_tells_timeouts_and_nonsense_apart(world: World) -> None:
    bus = PretendedBus(world)
    client = CommandClient(bus, "kim/operator")
    bus.fails = RequestTimeoutError("nobody")
    assert isinstance(client.write(IMPORT, 1.0, "r"), TimedOut)
    assert isinstance(client.lease("tie_line", [ESS1], 1.0, "r"), TimedOut)
    bus.fails = RequestRefusedError("not a map")
    assert isinstance(client.write(IMPORT, 1.0, "r"), Refused)
    bus.fails = None
    for answer in ({}, {"outcome": "granted", "name": "x"}, to_message(Released("x")), {"outcome": "refused"}):
        bus.answer = answer
        outcome = client.write(IMPORT, 1.0, "r")
        assert isinstance(outcome, Refused)
        assert outcome.code is Code.MALFORMED
    bus.answer = to_message(Accepted("x"))
    assert isinstance(client.renew("tie_line"), Refused)
    assert isinstance(client.release("tie_line"), Refused)


def test_an_owner_reads_the_command_that_the_server_forwards(world: World) -> None:
    world.write()
    command = world.forwarded[0][1]
    assert Command.from_message(json.loads(json.dumps(command.to_message()))) == command
    with pytest.raises(RequestError):
        Command.from_message({**command.to_message(), "value": "x"})


def test_over_the_real_bus(tmp_path: Path) -> None:
    """A client's request travels to a server on a ROUTER socket and back."""
    clock = SystemClock()
    here, there = Bus(tmp_path, "hmi", clock), Bus(tmp_path, "core", clock)
    server = there.server("command")

    def serve() -> None:
        request = server.receive(10_000)
        assert request is not None
        request.reply(to_message(Accepted(request.message["command_id"])))

    thread = threading.Thread(target=serve)
    thread.start()
    assert isinstance(CommandClient(here, "kim/operator").write(IMPORT, 5.0, "test"), Accepted)
    thread.join(timeout=10)
    assert not thread.is_alive()
    here.close()
    there.close()
