"""Signing in, locking, areas of authority, through the service as screens use it."""

import json

import pytest

from gwanje.core.authority.attempts import FREE, FREE_TOGETHER
from gwanje.core.authority.principal import Role
from gwanje.core.authority.service import PENDING_MAX
from gwanje.core.authority.sessions import PER_USER_MAX
from gwanje.core.authority.settings import AuthoritySettings
from gwanje.core.requests import Code, RequestError

PROGRAM = "program-secret"


def refused(world, token, **more):
    """Code with which the session is refused for a change."""
    with pytest.raises(RequestError) as error:
        world.authority.principal({"session": token, **more})
    return error.value.code


# ---------------------------------------------------------------- signing in and out


def test_who_signs_in_gets_a_secret_and_is_known_by_it(world):
    answer = world.sign_in("kim")
    assert answer["outcome"] == "signed_in"
    assert (answer["user"], answer["role"], answer["console"]) == ("kim", "operator", "console 1")
    assert answer["locks_after_s"] == 900
    assert answer["expires_after_s"] == 43_200
    assert len(answer["session"]) >= 43, "256 bits"
    who = world.authority.principal({"session": answer["session"]})
    assert (who.name, who.role, who.console) == ("kim", Role.OPERATOR, "console 1")
    assert who.session_id == answer["session_id"]
    assert world.last("signed_in")["session_id"] == answer["session_id"]


def test_nothing_in_a_request_but_the_secret_counts(world):
    for claim in ({}, {"session": ""}, {"author": "kim", "role": "admin"}, {"session_id": "s000000"}):
        with pytest.raises(RequestError) as error:
            world.authority.principal(claim)
        assert error.value.code is Code.NOT_SIGNED_IN
    session_id = world.sign_in("kim")["session_id"]
    assert refused(world, session_id) is Code.SESSION_OVER, "the public name opens nothing"


def test_a_secret_stands_in_no_journal_state_or_listing(world):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="shift")
    world.ask("lock", session=token)
    world.ask("unlock", session=token, password="kim's password")
    world.ask("unlock", session=token, password="wrong password")
    listed = [world.ask(op) for op in ("sessions", "areas")]
    everything = json.dumps([world.entries, world.state, listed, world.announced])
    assert token not in everything
    assert "password" not in json.dumps([world.entries, world.state, listed])
    assert "kim" in everything


@pytest.mark.parametrize(
    ("name", "password"),
    [("kim", "wrong"), ("nobody-here", "kim's password"), ("off", "off's password"), ("control", "x"), ("Kim ", "x")],
)
def test_wrong_user_wrong_password_and_disabled_look_the_same(world, user, name, password):
    world.change_user(user("off", disabled=True))
    answer = world.sign_in(name, password)
    assert answer == {
        "outcome": "refused", "code": "wrong_password", "detail": "", "text_ko": "사용자 이름 또는 암호가 틀립니다",
        "text_en": "user name or password is wrong",
    }  # fmt: skip
    assert len(world.passwords.asked) == 1, "each one's password is looked at, by the same path"
    assert len(world.authority.sessions) == 0
    assert world.kinds()[-1] == "sign_in_failed"


def test_a_name_that_nobody_has_is_not_told(world):
    """People type their password where the name belongs."""
    world.sign_in("my-secret-password", "x")
    assert "my-secret-password" not in json.dumps(world.entries)
    assert world.last("sign_in_failed")["user"] == "(unknown)"
    world.sign_in("kim", "x")
    assert world.last("sign_in_failed")["user"] == "kim"


@pytest.mark.parametrize(
    "message",
    [
        {}, {"user": "kim"}, {"user": "kim", "password": ""}, {"user": "kim", "password": 5},
        {"user": 5, "password": "x"}, {"user": "k" * 129, "password": "x"},
        {"user": "kim", "password": "x" * 257}, {"user": "kim", "password": "a\nb"},
        {"user": "kim", "password": "x", "console": 5}, {"user": "kim", "password": "x", "console": "c" * 65},
        {"user": "kim", "password": "x", "remote_key": 5}, {"user": "kim", "password": "\ud800"},
    ],
)  # fmt: skip
def test_what_is_no_sign_in_is_refused_without_a_look(world, message):
    assert world.ask("sign_in", **message)["code"] == "malformed"
    assert world.passwords.asked == []


def test_failures_make_the_user_wait_longer_and_longer(world):
    for _ in range(FREE):
        assert world.sign_in("kim", "x")["code"] == "wrong_password"
    waits = []
    for _ in range(8):
        answer = world.sign_in("kim")
        assert answer["code"] == "try_later", "the right password too: nobody can tell"
        waits.append(int(answer["detail"].split()[0]))
        world.advance(waits[-1])
        assert world.sign_in("kim", "x")["code"] == "wrong_password"
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert world.sign_in("park")["outcome"] == "signed_in", "another user does not wait"
    world.advance(60)
    assert world.sign_in("kim")["outcome"] == "signed_in"
    assert world.sign_in("kim", "x")["code"] == "wrong_password", "a success forgives"
    assert world.sign_in("kim")["outcome"] == "signed_in"
    assert world.last("sign_ins_refused")["n"] >= 1


def test_an_unknown_name_waits_as_a_user_does(world):
    for _ in range(FREE):
        world.sign_in("ghost", "x")
    assert world.sign_in("ghost", "x")["code"] == "try_later"


def test_many_names_slow_everybody_down(world):
    for number in range(FREE_TOGETHER):
        assert world.sign_in(f"name{number}", "x")["code"] == "wrong_password"
    assert world.sign_in("kim")["code"] == "try_later"
    world.advance(2)
    assert world.sign_in("kim")["outcome"] == "signed_in"


def test_passwords_that_wait_are_limited(world):
    replies = []
    for number in range(PENDING_MAX + 1):
        world.service.handle({"op": "sign_in", "user": f"name{number}", "password": "x"}, replies.append)
    assert [one["code"] for one in replies] == ["busy"]
    world.service.finished()
    assert len(replies) == PENDING_MAX + 1
    world.service.handle({"op": "sign_in", "user": "kim", "password": "x"}, replies.append)
    again = []
    world.service.handle({"op": "sign_in", "user": "kim", "password": "kim's password"}, again.append)
    assert again[0]["code"] == "busy", "one at a time for a user: no guessing side by side"


def test_who_is_disabled_while_the_password_is_looked_at_does_not_get_in(world, user):
    replies = []
    world.service.handle({"op": "sign_in", "user": "kim", "password": "kim's password"}, replies.append)
    world.change_user(user("kim", disabled=True))
    world.service.finished()
    assert replies[0]["code"] == "wrong_password"


def test_signing_out_ends_the_session_and_frees_its_areas(world):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    assert world.ask("sign_out", session=token)["outcome"] == "signed_out"
    assert refused(world, token) is Code.SESSION_OVER
    assert world.holder("jincheon") == ""
    assert world.last("signed_out")["why"] == "signed out"
    assert world.last("area_released")["why"] == "signed out"


def test_a_users_third_sign_in_ends_the_least_used_one(world):
    first, second = (world.sign_in("kim", console=f"c{number}") for number in range(PER_USER_MAX))
    assert [one["console"] for one in world.ask("sessions")["sessions"]] == ["c0", "c1"]
    world.advance(10)
    world.ask("touch", session=first["session"])
    third = world.sign_in("kim", console="c3")
    assert refused(world, second["session"]) is Code.SESSION_OVER
    for one in (first, third):
        world.authority.principal({"session": one["session"]})
    assert world.last("signed_out")["why"] == "another sign-in"


def test_programs_have_no_session_to_lock_or_end(world):
    for op in ("sign_out", "lock", "unlock"):
        assert world.ask(op, session=PROGRAM, password="x")["code"] == "role_not_allowed"
    assert world.ask("who", session=PROGRAM)["role"] == "program"
    assert world.ask("take_area", session=PROGRAM, area="jincheon", reason="x")["code"] == "role_not_allowed"


# ---------------------------------------------------------------- locking and ending


def test_an_idle_session_locks_and_only_the_password_opens_it(world):
    token = world.sign_in("kim")["session"]
    world.clock.advance_ns(899 * 10**9)
    assert world.ask("touch", session=token)["outcome"] == "touched"
    world.clock.advance_ns(900 * 10**9)
    assert refused(world, token) is Code.SESSION_LOCKED, "at the moment, not at the next step"
    who = world.ask("who", session=token)
    assert (who["locked"], who["locks_in_s"]) == (True, 0.0)
    assert world.ask("unlock", session=token, password="x")["code"] == "wrong_password"
    assert refused(world, token) is Code.SESSION_LOCKED
    assert world.ask("unlock", session=token, password="kim's password")["outcome"] == "unlocked"
    world.authority.principal({"session": token})
    assert [kind for kind in world.kinds() if kind.startswith("session_")] == ["session_locked", "session_unlocked"]


def test_looking_who_one_is_does_not_keep_a_session_open(world):
    token = world.sign_in("kim")["session"]
    for _ in range(90):
        world.advance(10)
        world.ask("who", session=token)
    assert refused(world, token) is Code.SESSION_LOCKED


def test_a_person_locks_the_own_screen(world):
    token = world.sign_in("kim")["session"]
    assert world.ask("lock", session=token)["outcome"] == "locked"
    for op in ("touch", "take_area", "release_area", "hand_over", "accept_area"):
        assert world.ask(op, session=token, area="jincheon", reason="", to="park")["code"] == "session_locked"
    assert world.ask("sign_out", session=token)["outcome"] == "signed_out", "leaving is always possible"


def test_guessing_at_a_lock_counts_as_guessing(world):
    token = world.sign_in("kim")["session"]
    world.ask("lock", session=token)
    for _ in range(FREE):
        world.ask("unlock", session=token, password="x")
    assert world.ask("unlock", session=token, password="kim's password")["code"] == "try_later"


def test_a_session_ends_after_its_longest_life_however_busy(world):
    token = world.sign_in("kim")["session"]
    for _ in range(12 * 6 - 1):
        world.clock.advance_ns(600 * 10**9)
        world.authority.principal({"session": token})
    world.clock.advance_ns(600 * 10**9)
    assert refused(world, token) is Code.SESSION_OVER
    world.service.step()
    assert world.ask("sessions")["sessions"] == []
    assert world.last("signed_out")["why"] == "over"


@pytest.mark.parametrize("hours", [-8766, -1, 1, 8766])
def test_a_stepped_wall_clock_locks_and_ends_nothing(world, hours):
    token = world.sign_in("kim")["session"]
    world.clock.step_utc_ns(hours * 3600 * 10**9)
    world.advance(60)
    world.authority.principal({"session": token})


def test_the_sites_file_says_when_sessions_lock(tmp_path, new_world, user):
    world = new_world(tmp_path, AuthoritySettings(idle_lock_s=30.0))
    world.users(user("kim"))
    token = world.sign_in("kim")["session"]
    world.advance(30)
    assert refused(world, token) is Code.SESSION_LOCKED


# ---------------------------------------------------------------- users change under a running core


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"disabled": True}, True), ({"password_utc_ns": 2}, True), ({"created_utc_ns": 2}, True),
        ({"full_name": "K"}, False),
    ],
)  # fmt: skip
def test_what_changes_about_a_user_holds_within_two_seconds_and_is_journalled(world, user, changes, ends):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    world.change_user(user("kim", changed_by="root", **changes))
    world.advance(1.0)
    if ends:
        assert refused(world, token) is Code.SESSION_OVER
        assert world.holder("jincheon") == ""
    else:
        world.authority.principal({"session": token})
    told = world.last("user_changed")
    assert (told["user"], told["by"]) == ("kim", "root")


def test_a_lower_role_holds_at_once_and_costs_the_areas(world, user):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    world.change_user(user("kim", Role.VIEWER))
    assert world.authority.principal({"session": token}).role is Role.VIEWER
    assert world.holder("jincheon") == ""


def test_an_area_that_is_no_longer_the_users_becomes_free(world, user):
    token = world.sign_in("kim")["session"]
    for area in ("jincheon", "eumseong"):
        world.ask("take_area", session=token, area=area, reason="")
    world.change_user(user("kim", areas=("eumseong",)))
    assert (world.holder("jincheon"), world.holder("eumseong") != "") == ("", True)
    assert world.ask("take_area", session=token, area="jincheon", reason="")["code"] == "area_not_allowed"


def test_a_damaged_users_file_keeps_those_who_are_in_and_says_so(world):
    token = world.sign_in("kim")["session"]
    good = world.file.path.read_text(encoding="utf-8")
    world.file.path.write_text("{")
    world.advance(2)
    world.authority.principal({"session": token})
    assert "damaged" in world.authority.book.trouble
    assert "damaged" in world.last("users_unreadable")["reason"]
    world.file.path.write_text(good, encoding="utf-8")
    world.advance(2)
    assert world.authority.book.trouble == ""


# ---------------------------------------------------------------- areas of authority


def test_an_area_is_taken_once_seen_by_all_and_given_up(world):
    kim, park = world.sign_in("kim"), world.sign_in("park", console="desk 2")
    answer = world.ask("take_area", session=kim["session"], area="jincheon", reason="early shift")
    assert answer["outcome"] == "area"
    assert (answer["area"]["holder"], answer["area"]["session_id"]) == ("kim", kim["session_id"])
    told = world.ask("take_area", session=park["session"], area="jincheon", reason="mine")
    assert (told["code"], "kim @ console 1" in told["text_en"]) == ("area_held_by_other", True)
    assert world.ask("take_area", session=kim["session"], area="jincheon", reason="")["outcome"] == "area"
    assert world.kinds().count("area_taken") == 1, "taken twice is taken once"
    assert world.ask("release_area", session=park["session"], area="jincheon")["code"] == "area_held_by_other"
    assert world.ask("release_area", session=kim["session"], area="jincheon")["area"]["holder"] == ""
    assert world.ask("release_area", session=kim["session"], area="jincheon")["code"] == "area_not_held"
    assert [one[:2] for one in world.announced] == [("area_taken", "jincheon"), ("area_released", "jincheon")]


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("lee", {"area": "jincheon", "reason": ""}, "role_not_allowed"),
        ("kim", {"area": "seoul", "reason": ""}, "unknown_area"),
        ("kim", {"area": 5, "reason": ""}, "malformed"),
        ("kim", {"area": "jincheon", "reason": 5}, "malformed"),
        ("kim", {"area": "jincheon", "reason": "", "force": 1}, "malformed"),
        ("park", {"area": "jincheon", "reason": "", "force": True}, "malformed"),
    ],
)
def test_an_area_that_cannot_be_taken(world, name, message, code):
    token = world.sign_in(name)["session"]
    assert world.ask("take_area", session=token, **message)["code"] == code
    assert world.ask("take_area", session="", **message)["code"] == "not_signed_in"


def test_only_a_supervisor_takes_by_force_with_a_reason(world, user):
    world.change_user(user("choi"))
    kim, choi, park = (world.sign_in(name) for name in ("kim", "choi", "park"))
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    by_force = {"area": "jincheon", "reason": "kim does not answer", "force": True}
    assert world.ask("take_area", session=choi["session"], **by_force)["code"] == "role_not_allowed"
    assert world.ask("take_area", session=park["session"], **by_force)["area"]["holder"] == "park"
    told = world.last("area_forced")
    assert (told["from"], told["reason"]) == ("kim", "kim does not answer")
    assert "kim does not answer" in world.announced[-1][2]


def test_an_area_is_handed_over_when_the_other_accepts(world):
    kim, park = world.sign_in("kim"), world.sign_in("park")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    assert world.ask("accept_area", session=park["session"], area="jincheon")["code"] == "area_not_offered"
    offered = world.ask("hand_over", session=kim["session"], area="jincheon", to="park")
    assert (offered["area"]["holder"], offered["area"]["offered_to"]) == ("kim", "park")
    world.advance(59)
    accepted = world.ask("accept_area", session=park["session"], area="jincheon")
    assert accepted["area"]["session_id"] == park["session_id"]
    assert world.ask("accept_area", session=park["session"], area="jincheon")["code"] == "area_not_offered"
    assert [kind for kind in world.kinds() if kind.startswith("area")] == [
        "area_taken", "area_offered", "area_handed_over",
    ]  # fmt: skip


def test_an_offer_that_nobody_accepts_is_forgotten(world):
    kim, park = world.sign_in("kim"), world.sign_in("park")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    world.ask("hand_over", session=kim["session"], area="jincheon", to=park["session_id"])
    world.advance(60)
    assert world.ask("accept_area", session=park["session"], area="jincheon")["code"] == "area_not_offered"
    assert world.ask("areas")["areas"][0]["offered_to"] == ""
    assert world.holder("jincheon") == kim["session_id"]


@pytest.mark.parametrize(
    ("to", "code"),
    [("lee", "area_not_allowed"), ("ghost", "unknown_session"), ("kim", "unknown_session"), (5, "malformed")],
)
def test_an_area_that_cannot_be_handed_over(world, to, code):
    kim = world.sign_in("kim")
    world.sign_in("lee")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    assert world.ask("hand_over", session=kim["session"], area="jincheon", to=to)["code"] == code
    assert world.ask("hand_over", session=kim["session"], area="eumseong", to="lee")["code"] == "area_not_held"


def test_a_locked_session_keeps_its_areas_for_a_grace_only(world):
    kim, park = world.sign_in("kim"), world.sign_in("park")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    world.ask("lock", session=kim["session"])
    world.advance(299)
    assert world.ask("take_area", session=park["session"], area="jincheon", reason="")["code"] == "area_held_by_other"
    world.ask("unlock", session=kim["session"], password="kim's password")
    world.advance(299)
    assert world.holder("jincheon") == kim["session_id"], "unlocked in time"
    world.ask("lock", session=kim["session"])
    world.advance(300)
    assert world.last("area_released")["why"] == "locked"
    assert world.ask("take_area", session=park["session"], area="jincheon", reason="")["area"]["holder"] == "park"


def test_a_persons_other_console_takes_over_unasked(world):
    one, two = world.sign_in("kim", console="desk"), world.sign_in("kim", console="tablet")
    world.ask("take_area", session=one["session"], area="jincheon", reason="")
    assert world.ask("take_area", session=two["session"], area="jincheon", reason="")["area"]["console"] == "tablet"
    first = world.authority.principal({"session": one["session"]})
    assert world.authority.area_refusal(first, "jincheon.ess1.x")[0] is Code.AREA_HELD_BY_OTHER


def test_whoever_commands_a_point_holds_its_area_with_this_very_session(world):
    authority = world.authority
    kim, park = (world.authority.principal({"session": world.sign_in(name)["session"]}) for name in ("kim", "park"))
    assert authority.area_of("jincheon.ess1.discharge_setpoint_w") == "jincheon"
    assert authority.area_of("somewhere.else.x") == ""
    point = "control.tie.import_setpoint_w"
    assert authority.area_refusal(kim, point) == (Code.AREA_NOT_HELD, "microgrid")
    world.ask("take_area", session=world.tokens[park.session_id], area="microgrid", reason="")
    code, detail = authority.area_refusal(kim, point)
    assert (code, "park" in detail) == (Code.AREA_HELD_BY_OTHER, True)
    assert authority.area_refusal(park, point) is None
    assert authority.area_refusal(kim, "somewhere.else.x") == (Code.NO_AREA, "somewhere.else.x")
    assert authority.area_refusal(park, "somewhere.else.x") is None, "supervisors and above"
    assert authority.area_refusal(authority.principal({"session": PROGRAM}), point) is None


def test_without_a_journal_no_area_changes_hands_but_everybody_may_leave(world):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    world.disk_full = True
    assert world.ask("take_area", session=token, area="eumseong", reason="")["code"] == "journal_unwritable"
    assert world.holder("eumseong") == ""
    assert world.ask("release_area", session=token, area="jincheon")["outcome"] == "area"
    assert world.ask("sign_out", session=token)["outcome"] == "signed_out"
    world.disk_full = False
    world.desk.step()
    assert world.kinds()[-1] == "signed_out"


# ---------------------------------------------------------------- from another machine


def test_a_key_of_another_machine_caps_the_role_and_binds_the_session(world, user):
    world.change_user(user("boss", Role.ADMIN))
    remote = {"remote_key": "tablet", "remote_role": "operator"}
    token = world.sign_in("boss", **remote)["session"]
    assert world.authority.principal({"session": token, **remote}).role is Role.OPERATOR
    for broken in ("king", None, 5, "program"):
        who = world.authority.principal({"session": token, "remote_key": "tablet", "remote_role": broken})
        assert who.role is Role.VIEWER, "a role that cannot be read is the least"
    assert refused(world, token) is Code.SESSION_OVER, "it does not work on the machine itself"
    assert refused(world, token, remote_key="other", remote_role="admin") is Code.SESSION_OVER
    local = world.sign_in("boss")["session"]
    assert refused(world, local, **remote) is Code.SESSION_OVER
    assert refused(world, PROGRAM, **remote) is Code.SESSION_OVER, "a program's credential is worth nothing outside"
    assert world.ask("sessions")["sessions"][0]["remote_key"] == "tablet"


def test_guessing_from_another_machine_makes_nobody_wait_here(world):
    remote = {"remote_key": "stolen", "remote_role": "admin"}
    for number in range(FREE_TOGETHER):
        world.sign_in("kim" if number < FREE else f"name{number}", "x", **remote)
    assert world.sign_in("kim", **remote)["code"] == "try_later"
    assert world.sign_in("park", **remote)["code"] == "try_later"
    assert world.sign_in("kim")["outcome"] == "signed_in"
    assert world.last("sign_in_failed")["remote_key"] == "stolen"


# ---------------------------------------------------------------- a killed core


def test_sessions_and_areas_outlive_a_killed_core(world):
    kim, park = world.sign_in("kim"), world.sign_in("park")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    world.ask("lock", session=park["session"])
    world.clock.advance_ns(5 * 10**9)
    world.start()
    assert world.authority.principal({"session": kim["session"]}).name == "kim"
    assert refused(world, park["session"]) is Code.SESSION_LOCKED
    assert world.holder("jincheon") == kim["session_id"]


def test_time_goes_on_while_no_core_runs(world):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    world.clock.advance_ns(901 * 10**9)
    world.start()
    assert refused(world, token) is Code.SESSION_LOCKED
    world.clock.advance_ns(43_200 * 10**9)
    world.start()
    assert refused(world, token) is Code.SESSION_OVER
    assert world.holder("jincheon") == ""


def test_a_user_removed_while_no_core_ran_is_out_and_the_journal_says_so(world):
    token = world.sign_in("kim")["session"]
    world.file.change(lambda users: users.pop("kim"))
    world.start()
    assert refused(world, token) is Code.SESSION_OVER
    assert world.ask("sessions")["sessions"] == []
    assert (world.last("user_changed")["user"], world.last("user_changed")["what"]) == ("kim", "removed")


def test_another_boot_knows_no_session(world):
    token = world.sign_in("kim")["session"]
    world.state = world.state.replace('"boot": "boot"', '"boot": "before"')
    world.start()
    assert refused(world, token) is Code.SESSION_OVER


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state | {"sessions": 5},
        lambda state: state | {"sessions": [*state["sessions"], {}]},
        lambda state: state | {"sessions": state["sessions"] * 2},
        lambda state: state | {"sessions": [one | {"used_mono_ns": 2**62} for one in state["sessions"]]},
        lambda state: state | {"sessions": [one | {"user": 5} for one in state["sessions"]]},
        lambda state: state | {"areas": state["areas"] * 2},
        lambda state: state | {"areas": None},
    ],
)
def test_a_damaged_state_is_said_and_gives_nobody_anything(world, damage):
    token = world.sign_in("kim")["session"]
    world.ask("take_area", session=token, area="jincheon", reason="")
    world.state = json.dumps(damage(json.loads(world.state)))
    with pytest.raises(ValueError, match=r"session|area|without a name"):
        world.start()
    assert world.holder("jincheon") == ""
    assert world.ask("sessions")["sessions"] == [], "it is said that everybody must sign in again"


def test_a_state_that_cannot_be_kept_is_kept_later(world):
    world.state_full = True
    token = world.sign_in("kim")["session"]
    assert "cannot be kept" in world.authority.state_trouble
    world.state_full = False
    world.advance(1)
    assert world.authority.state_trouble == ""
    world.start()
    world.authority.principal({"session": token})


def test_who_asked_a_while_ago_is_who_they_are_now(world, user):
    token = world.sign_in("kim", "kim's password")["session"]
    who = world.authority.principal({"session": token})
    assert world.authority.present(who) == who
    world.change_user(user("kim", Role.ADMIN))
    assert world.authority.present(who) == who, "what was asked for was asked for with the role of that time"
    world.change_user(user("kim", Role.VIEWER))
    assert world.authority.present(who).role is Role.VIEWER
    world.ask("lock", session=token)
    assert world.authority.present(who) is None


def test_how_many_users_there_are_is_told_before_anybody_signs_in(world):
    assert world.ask("sessions") == {"sessions": [], "n_users": 3}
    world.users()
    assert world.ask("sessions")["n_users"] == 0
