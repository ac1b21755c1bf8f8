"""Leases: bounded, exclusive, below people, and alive through a restart."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.commands.leases import (
    POINTS_MAX,
    STATE_BYTES_MAX,
    TTL_S_MAX,
    Fault,
    Given,
    Lease,
    LeaseFault,
    LeaseTable,
)
from gwanje.core.state_file import StateFile

S = 1_000_000_000
NOW = 1_000 * S
POINTS = ("control.ess1.discharge_setpoint_w", "control.ess2.discharge_setpoint_w")


def table() -> LeaseTable:
    return LeaseTable(["tie_line", "lighting"])


def ask(leases: LeaseTable, **changes: object) -> Given | Fault:
    asked: dict[str, object] = {
        "name": "tie_line", "holder": "control", "points": POINTS, "ttl_s": 5.0, "reason": "balance",
        "lease_id": "id1", "now_mono_ns": NOW, **changes,
    }
    return leases.ask(**asked)  # type: ignore[arg-type]


def give(leases: LeaseTable, **changes: object) -> Lease:
    given_ = ask(leases, **changes)
    assert isinstance(given_, Given)
    leases.put(given_.lease)
    return given_.lease


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "nobody"}, LeaseFault.UNKNOWN_LEASE),
        ({"points": ()}, LeaseFault.NO_POINTS),
        ({"points": tuple(f"a.b.p{index}" for index in range(POINTS_MAX + 1))}, LeaseFault.TOO_MANY_POINTS),
        ({"ttl_s": TTL_S_MAX + 0.1}, LeaseFault.TTL),
        ({"ttl_s": 0.1}, LeaseFault.TTL),
        ({"ttl_s": math.nan}, LeaseFault.TTL),
        ({"ttl_s": -1.0}, LeaseFault.TTL),
    ],
)
def test_what_is_not_given(changes: dict[str, object], code: LeaseFault) -> None:
    answer = ask(table(), **changes)
    assert isinstance(answer, Fault)
    assert answer.code is code


def test_overlapping_points_have_one_holder() -> None:
    leases = table()
    give(leases)
    answer = ask(leases, name="lighting", holder="lamps", points=(POINTS[1], "city.lamps.dim"), lease_id="id2")
    assert isinstance(answer, Fault)
    assert answer.code is LeaseFault.HELD_BY_OTHER
    assert answer.detail == "tie_line of control"
    assert isinstance(ask(leases, name="lighting", holder="lamps", points=("city.lamps.dim",)), Given)


def test_a_name_has_one_holder_but_a_restarted_holder_takes_its_own_up_again() -> None:
    leases = table()
    give(leases)
    assert isinstance(ask(leases, holder="intruder", points=("a.b.c",)), Fault)
    again = ask(leases, lease_id="id2", now_mono_ns=NOW + S)
    assert isinstance(again, Given)
    assert again.replaces == "id1"
    leases.put(again.lease)
    old = leases.renew("tie_line", "id1", "control", NOW + S)
    assert isinstance(old, Fault), "the dead process's proof is worth nothing"
    assert isinstance(leases.renew("tie_line", "id2", "control", NOW + S), Lease)


def test_after_expiry_somebody_else_may_have_it() -> None:
    leases = table()
    lease = give(leases)
    assert leases.expire(NOW + 5 * S - 1) == ((), ())
    assert isinstance(ask(leases, holder="other", now_mono_ns=NOW + 5 * S), Given)
    assert leases.expire(NOW + 5 * S) == ((lease,), ())
    assert leases.leases() == ()


def test_renewal_reaches_one_ttl_from_now_and_is_counted() -> None:
    leases = table()
    give(leases)
    for step in range(1, 4):
        renewed = leases.renew("tie_line", "id1", "control", NOW + step * 4 * S)
        assert isinstance(renewed, Lease)
        assert renewed.until_mono_ns == NOW + step * 4 * S + 5 * S
        assert renewed.renewals == step
    assert isinstance(leases.renew("tie_line", "wrong", "control", NOW + 13 * S), Fault)
    assert isinstance(leases.renew("tie_line", "id1", "other", NOW + 13 * S), Fault), "to know the id is not enough"
    assert isinstance(leases.renew("tie_line", "id1", "control", NOW + 17 * S), Fault), "expired to the nanosecond"


def test_release_needs_the_proof() -> None:
    leases = table()
    lease = give(leases)
    assert isinstance(leases.release("tie_line", "wrong"), Fault)
    assert leases.release("tie_line", "id1") == lease
    assert isinstance(leases.release("tie_line", "id1"), Fault)


def test_a_persons_write_narrows_then_ends_a_lease() -> None:
    leases = table()
    give(leases)
    first = leases.take(POINTS[0], "kim", NOW + S)
    assert first is not None
    assert first.effect == "narrowed"
    assert first.after is not None
    assert first.after.points == (POINTS[1],)
    assert leases.holder_of(POINTS[0], NOW + S) is None
    second = leases.take(POINTS[1], "kim", NOW + S)
    assert second is not None
    assert second.effect == "ended"
    assert leases.get("tie_line") is None


def test_a_held_point_stays_with_the_person_until_it_is_given_back_or_the_hold_ends() -> None:
    leases = table()
    give(leases)
    leases.take(POINTS[0], "kim", NOW, hold_s=60.0)
    partly = ask(leases, lease_id="id2", now_mono_ns=NOW + S)
    assert isinstance(partly, Given)
    assert partly.withheld == (POINTS[0],)
    assert partly.lease.points == (POINTS[1],)
    alone = ask(leases, points=(POINTS[0],), lease_id="id3", now_mono_ns=NOW + S)
    assert isinstance(alone, Fault)
    assert alone.code is LeaseFault.HELD_BY_OPERATOR
    assert alone.detail == "kim"
    assert isinstance(ask(leases, points=(POINTS[0],), now_mono_ns=NOW + 60 * S), Given), "the hold ended by itself"
    assert [hold.point for hold in leases.give_back([POINTS[0], "nothing"])] == [POINTS[0]]
    assert isinstance(ask(leases, points=(POINTS[0],), lease_id="id4", now_mono_ns=NOW + S), Given)


def test_a_write_beside_every_lease_holds_as_well() -> None:
    leases = table()
    assert leases.take(POINTS[0], "kim", NOW) is None
    assert [one.point for one in leases.holds()] == [POINTS[0]]
    again = ask(leases)
    assert isinstance(again, Given)
    assert again.withheld == (POINTS[0],)


def test_state_survives_a_restart_and_only_what_is_still_valid(tmp_path: Path) -> None:
    leases = table()
    lease = give(leases)
    give(leases, name="lighting", holder="lamps", points=("x.y.a", "x.y.b"), ttl_s=1.0)
    leases.take("x.y.a", "kim", NOW, hold_s=100.0)
    StateFile(tmp_path / "leases.json", STATE_BYTES_MAX).save(leases.to_state("boot1"))
    state = StateFile(tmp_path / "leases.json", STATE_BYTES_MAX).load()
    assert state is not None
    fresh = table()
    assert fresh.restore(state, "boot1", NOW + 2 * S) == (lease,)
    assert isinstance(fresh.renew("tie_line", "id1", "control", NOW + 2 * S), Lease)
    assert [hold.point for hold in fresh.holds()] == ["x.y.a"]
    assert table().restore(state, "boot2", NOW + 2 * S) == (), "another boot's monotonic times mean nothing"
    assert table().restore(state, "boot1", NOW + 200 * S) == ()
    assert table().restore(state, "boot1", NOW - 100 * S) == (), "a lease that reaches too far is not believed"
    assert LeaseTable([]).restore(state, "boot1", NOW) == (), "the site dropped the lease's tag"


DAMAGED = ["", "[]", "{", '{"boot": "b"}', '{"boot":"b","leases":[{}],"holds":[]}', '{"boot":"b","leases":[3]}']


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_state_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "leases.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"damaged|state"):
        table().restore(StateFile(path, STATE_BYTES_MAX).load() or {}, "b", NOW)


def test_no_state_is_no_error(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "leases.json", STATE_BYTES_MAX).load() is None


VERBS = st.sampled_from(["ask", "ask2", "renew", "release", "take", "back", "wait"])


@settings(deadline=None)
@given(st.lists(st.tuples(VERBS, st.integers(0, 7))))
def test_at_no_time_two_leases_cover_one_point(steps: list[tuple[str, int]]) -> None:
    leases = LeaseTable(["a", "b"])
    now = NOW
    points = [f"p.q.r{index}" for index in range(4)]
    for number, (what, which) in enumerate(steps):
        chosen = points[which % 4 :] + points[: which % 2]
        if what in ("ask", "ask2"):
            name = "a" if what == "ask" else "b"
            answer = leases.ask(name, f"holder {which % 3}", chosen, 1.0 + which, "why", f"id{number}", now)
            if isinstance(answer, Given):
                leases.put(answer.lease)
        elif what == "take":
            leases.take(points[which % 4], "kim", now, 3.0)
        elif what == "back":
            leases.give_back(chosen)
        elif what == "wait":
            now += which * S
            leases.expire(now)
        elif what == "renew":
            for lease in leases.leases():
                leases.renew(lease.name, lease.lease_id, lease.holder, now)
        else:
            for lease in leases.leases():
                leases.release(lease.name, lease.lease_id)
        covered = [point for lease in leases.leases() if lease.until_mono_ns > now for point in lease.points]
        assert len(covered) == len(set(covered))
        held = {hold.point for hold in leases.holds() if hold.until_mono_ns > now}
        assert not held & set(covered), "a point a person holds is in no lease"
        assert all(lease.until_mono_ns - now <= TTL_S_MAX * S for lease in leases.leases())
        again = LeaseTable(["a", "b"])
        again.restore(json.loads(json.dumps(leases.to_state("b"))), "b", now)
        valid = tuple(lease for lease in leases.leases() if lease.until_mono_ns > now)
        assert again.leases() == valid
