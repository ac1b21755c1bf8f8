"""The desk without a screen: signing in, locking, areas, operations, two consoles, and a core that does not answer."""

import math

import pytest

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.hmi.desk.desk import NOTICE_NS, Desk
from gwanje.hmi.desk.picture import NEVER, read_areas, read_operations, read_overrides, read_safety_tags
from gwanje.hmi.desk.procedure import Procedure, Seen, Stage
from gwanje.hmi.desk.units import Scale, TypedError
from gwanje.hmi.desk.worker import BUSY, MAX_WAITING, NO_ANSWER, Answer, Worker

S = 1_000_000_000
ESS = "jincheon.ess1.manual_discharge_w"


class Seat:
    """A desk, turned by hand."""

    def __init__(self, core, console="console-1"):
        self.core, self.clock = core, core.clock
        self.worker = Worker(core.request)
        self.desk = Desk(self.worker, core.clock, console)
        self.answers = []

    def settle(self, seconds=0.0, lost=False):
        """Time passes; everything asked is answered."""
        self.clock.advance_ns(round(seconds * S))
        for _ in range(3):
            self.desk.tick(self.clock.mono_ns(), lost)
            while self.worker.turn():
                pass
        self.desk.tick(self.clock.mono_ns(), lost)

    def sign_in(self, user="김하늘", password="정답", area="jincheon"):
        self.desk.sign_in(user, password, self.answers.append)
        self.settle()
        if area and not self.answers[-1].failed:
            self.desk.request("session", "take_area", "areas.taken", area=area, reason="")
            self.settle(2)
        return self

    def seen(self, value=0.0, age_s=0.1):
        return Seen(value, self.clock.mono_ns() - round(age_s * S), True)

    def checked(self, value, point=ESS):
        self.desk.select(point)
        self.settle()
        self.desk.check(value)
        self.settle()
        return self


@pytest.fixture
def core(fake_core):
    return fake_core.FakeCore(VirtualClock(1_805_347_200 * S))


@pytest.fixture
def seat(core):
    return Seat(core)


# ------------------------------------------------------------------------------------------------------------ people


def test_somebody_signs_in_and_everything_names_them_afterwards(seat, core):
    seat.sign_in()
    assert seat.desk.session.user == "김하늘"
    assert seat.desk.session.areas == ("jincheon",)
    assert seat.desk.can_act
    assert seat.desk.locks_in_s(seat.clock.mono_ns()) > 0
    assert all(message["session"] == "secret-0001" for message in core.messages if "area" in message)


def test_a_wrong_password_is_told_and_nobody_is_signed_in(seat):
    seat.sign_in(password="falsch")
    assert seat.answers[-1].code == "wrong_password"
    assert "암호" in seat.answers[-1].text_ko
    assert not seat.desk.signed_in


def test_the_secret_and_the_password_are_shown_nowhere(seat):
    seat.desk.sign_in("김하늘", "정답", seat.answers.append)
    assert "정답" not in repr(list(seat.worker._urgent))
    seat.settle()
    assert "secret-" not in repr(seat.desk)


def test_whether_the_site_has_users_is_known_before_anybody_signs_in(seat, core):
    assert seat.desk.n_users is None, "nobody has said so yet"
    seat.settle(6)
    assert seat.desk.people == ()
    assert seat.desk.n_users == len(core.users)
    core.users.clear()
    seat.settle(6)
    assert seat.desk.n_users == 0


def test_the_next_shift_signs_in_over_the_last_one(seat, core):
    seat.sign_in()
    seat.sign_in("박산", area="")
    seat.settle(1)
    assert seat.desk.session.user == "박산"
    assert [who.user for who in core.sessions.values()] == ["박산"]
    assert core.areas["jincheon"]["holder"] == "", "areas do not pass to the next person by themselves"


def test_a_failed_switch_leaves_who_was_there(seat):
    seat.sign_in()
    seat.sign_in("박산", "falsch")
    assert seat.desk.session.user == "김하늘"


def test_locking_is_immediate_and_only_the_password_opens(seat):
    seat.sign_in()
    seat.desk.lock()
    assert not seat.desk.can_act, "before the core has answered"
    assert seat.desk.why_not() == "why.locked"
    seat.settle(1)
    seat.desk.unlock("falsch", seat.answers.append)
    seat.settle()
    assert seat.answers[-1].code == "wrong_password"
    assert not seat.desk.can_act
    seat.desk.unlock("정답", seat.answers.append)
    seat.settle(1)
    assert seat.desk.can_act


def test_a_desk_that_the_core_locked_shows_it(seat, core):
    seat.sign_in().checked(100_000.0)
    core.sessions["secret-0001"].locked = True
    seat.settle(2)
    assert seat.desk.session.locked
    assert seat.desk.procedure.stage is Stage.IDLE
    assert seat.desk.locks_in_s(seat.clock.mono_ns()) is None


def test_a_session_that_ended_elsewhere_is_noticed(seat, core):
    seat.sign_in()
    core.sessions.clear()
    seat.settle(2)
    assert not seat.desk.signed_in
    assert seat.desk.notice.key == "session.over"
    seat.settle(NOTICE_NS / S + 1)
    assert seat.desk.notice is None


def test_a_late_answer_about_the_last_person_does_not_touch_the_next(seat):
    seat.sign_in()
    seat.settle(2)
    seat.desk.tick(seat.clock.mono_ns() + 2 * S, False)  # `who` is asked
    seat.desk.sign_out()
    assert seat.worker.turn()
    seat.sign_in("박산", area="")
    assert seat.desk.session.user == "박산"


def test_why_an_operation_is_not_possible_is_always_said(seat):
    seat.settle(6)
    assert seat.desk.why_not() == "why.signed_out"
    seat.sign_in("guest", "open", area="")
    assert seat.desk.why_not() == "why.role_operator"
    seat.sign_in(area="microgrid")
    assert seat.desk.why_not(area="microgrid") == ""
    assert seat.desk.why_not(area="jincheon") == "why.area"
    assert seat.desk.why_not("supervisor") == "why.role_supervisor"


# ------------------------------------------------------------------------------------------------------------- areas


def test_an_area_is_handed_from_one_console_to_the_other(core):
    here, there = Seat(core).sign_in(), Seat(core, "console-2").sign_in("이바다", area="")
    there.desk.request("session", "take_area", "areas.taken", area="jincheon", reason="")
    there.settle(2)
    assert there.desk.notice.bad
    assert "김하늘" in there.desk.notice.text.ko
    here.desk.request("session", "hand_over", "areas.offered", area="jincheon", to="이바다")
    here.settle(2)
    there.settle(2)
    assert there.desk.area_of("jincheon").offered_to == "이바다"
    there.desk.request("session", "accept_area", "areas.taken", area="jincheon")
    there.settle(2)
    here.settle(2)
    assert there.desk.holds(there.desk.area_of("jincheon"))
    assert here.desk.area_of("jincheon").console == "console-2"
    assert here.desk.why_not(area="jincheon") == "why.area"


# -------------------------------------------------------------------------------------------------------- operations


def test_from_selection_to_confirmation(seat, core):
    seat.sign_in().checked(100_000.0)
    procedure = seat.desk.procedure
    assert procedure.stage is Stage.CHECKED
    assert procedure.value == 100_000.0
    assert procedure.left_s(seat.clock.mono_ns()) == 30
    seat.desk.execute(seat.seen(-58_000.0), "저녁 부하", True, "")
    assert (seat.desk.procedure.stage, seat.desk.procedure.state) == (Stage.EXECUTING, "sent")
    seat.settle()
    assert (seat.desk.procedure.stage, seat.desk.procedure.state) == (Stage.RUNNING, "accepted")
    sent = next(message for message in core.messages if message["op"] == "execute")
    assert sent["seen_value"] == -58_000.0
    assert sent["expires_mono_ns"] - sent["issued_mono_ns"] == 5 * S
    assert sent["unit"] == "W"
    core.move("moving")
    seat.settle(1)
    assert seat.desk.procedure.state == "moving"
    core.move("confirmed")
    seat.settle(1)
    assert (seat.desk.procedure.stage, seat.desk.procedure.state) == (Stage.DONE, "confirmed")


@pytest.mark.parametrize("state", ["refused", "timed_out", "expired", "cancelled"])
def test_an_operation_that_ends_badly_says_how(seat, core, state):
    seat.sign_in().checked(100_000.0)
    seat.desk.execute(seat.seen(), "시험", True, "")
    seat.settle()
    core.move(state)
    seat.settle(1)
    assert (seat.desk.procedure.stage, seat.desk.procedure.state) == (Stage.FAILED, state)


def test_a_refused_value_leaves_the_point_selected(seat):
    seat.sign_in().checked(900_000.0)
    assert seat.desk.procedure.stage is Stage.SELECTED
    assert seat.desk.procedure.code == "out_of_range"
    seat.desk.check(200_000.0)
    seat.settle()
    assert seat.desk.procedure.stage is Stage.CHECKED
    assert seat.desk.procedure.code == ""


def test_another_value_must_be_checked_anew(seat, core):
    seat.sign_in().checked(100_000.0)
    seat.desk.edited()
    assert seat.desk.procedure.stage is Stage.SELECTED
    seat.desk.execute(seat.seen(), "시험", True, "")
    seat.settle()
    assert not core.running


def test_two_consoles_never_operate_one_point_at_once(core):
    here, there = Seat(core).sign_in(), Seat(core, "console-2").sign_in("박산", area="")
    here.checked(100_000.0)
    there.desk.request("session", "take_area", "areas.taken", area="jincheon", reason="교대", force=True)
    there.settle(2)
    there.desk.select(ESS)
    there.settle()
    assert there.desk.procedure.stage is Stage.FAILED
    assert there.desk.procedure.code == "reserved_by_other"
    assert "김하늘" in there.desk.procedure.reason.ko
    other = there.desk.operation_at(ESS)
    assert (other.state, other.author, there.desk.is_own(other)) == ("selected", "김하늘", False)
    assert here.desk.is_own(other)


def test_a_selection_ends_by_itself(seat):
    seat.sign_in().checked(100_000.0)
    seat.settle(31)
    assert (seat.desk.procedure.stage, seat.desk.procedure.state) == (Stage.FAILED, "expired")


def test_a_selection_is_given_up_when_another_point_is_chosen(seat, core):
    seat.sign_in().checked(100_000.0)
    seat.desk.request("session", "take_area", "areas.taken", area="eumseong", reason="")
    seat.settle(1)
    seat.desk.select("eumseong.ess2.manual_discharge_w")
    seat.settle()
    assert [one["point"] for one in core.selected.values()] == ["eumseong.ess2.manual_discharge_w"]


def test_the_core_refuses_a_stale_view_and_the_person_reads_it(seat):
    seat.sign_in().checked(100_000.0)
    seat.desk.execute(seat.seen(age_s=2.5), "시험", True, "")
    seat.settle()
    assert (seat.desk.procedure.stage, seat.desk.procedure.code) == (Stage.FAILED, "stale_view")
    assert "2.5 s" in seat.desk.procedure.reason.en


def test_what_is_missing_before_an_execution(seat, core):
    core.points[ESS].retype = True
    now = seat.clock.mono_ns
    assert Procedure().missing(now(), seat.seen(), "x", "", ESS, True) == "missing.check"
    procedure = seat.sign_in().checked(400_000.0).desk.procedure
    assert len(procedure.warnings) == 2
    assert procedure.missing(now(), seat.seen(age_s=3), "x", ESS, ESS, True) == "missing.stale"
    assert procedure.missing(now(), Seen(1.0, now(), False), "x", ESS, ESS, True) == "missing.stale"
    assert procedure.missing(now(), seat.seen(), "x", ESS, ESS, False) == "missing.warnings"
    assert procedure.missing(now(), seat.seen(), "  ", ESS, ESS, True) == "missing.reason"
    assert procedure.missing(now(), seat.seen(), "x", "ess1", ESS, True) == "missing.retype"
    assert procedure.missing(now(), seat.seen(), "x", ESS, ESS, True) == ""


def test_an_interlock_is_shown_with_the_selection_and_refused_at_the_check(seat, core):
    core.points[ESS].interlocks = [{"id": "hot", "text_ko": "과열", "text_en": "too hot", "blocks": True}]
    procedure = seat.sign_in().checked(400_000.0).desk.procedure
    assert [(one.name, one.blocks) for one in procedure.selection.interlocks] == [("hot", True)]
    assert (procedure.stage, procedure.code) == (Stage.SELECTED, "interlock")


def test_a_critical_operation_waits_for_another_person(core):
    core.points[ESS].two_person = True
    here, there = Seat(core).sign_in(), Seat(core, "console-2").sign_in("박산", area="")
    here.checked(100_000.0)
    here.desk.execute(here.seen(), "방전 시험", True, "")
    here.settle(1)
    assert here.desk.procedure.stage is Stage.SECOND
    waiting = next(one for one in here.desk.operations if one.state == "awaiting_second")
    here.desk.second(waiting)
    here.settle()
    assert here.desk.notice.bad, "nobody is two persons"
    there.settle(1)
    there.desk.second(waiting)
    there.settle(1)
    here.settle(1)
    assert here.desk.procedure.stage is Stage.RUNNING


# ------------------------------------------------------------------------------------------------- silence and storms


def test_a_service_that_is_silent_is_asked_rarely_and_a_person_never_waits_for_polls(seat, core):
    core.silent = {"overrides", "alarms"}
    for _ in range(50):
        seat.settle(0.1)
    asked = [one for one in core.asked if one[0] == "overrides"]
    assert len(asked) <= 2
    seat.desk.tick(seat.clock.mono_ns() + 60 * S, False)
    before = len(core.asked)
    seat.desk.sign_in("김하늘", "정답", seat.answers.append)
    seat.worker.turn()
    assert core.asked[before] == ("session", "sign_in")


def test_nothing_is_asked_of_a_lost_core(seat, core):
    seat.settle(10, lost=True)
    assert core.asked == []


def test_no_answer_is_an_answer(seat, core):
    seat.sign_in()
    core.silent = {"command"}
    seat.desk.select(ESS)
    seat.settle()
    assert (seat.desk.procedure.stage, seat.desk.procedure.code) == (Stage.FAILED, NO_ANSWER)


def test_more_questions_than_anybody_asks_are_turned_away(seat):
    for _ in range(MAX_WAITING + 3):
        seat.worker.ask("session", {"op": "areas"}, seat.answers.append)
    seat.worker.deliver()
    assert [one.outcome for one in seat.answers] == [BUSY] * 3


@pytest.mark.parametrize("error", [RequestTimeoutError("x"), RequestRefusedError("x"), ValueError("x")])
def test_errors_of_the_bus_are_answers(error):
    def request(_service, _message, _timeout_ms):
        raise error

    worker, answers = Worker(request), []
    worker.ask("session", {"op": "areas"}, answers.append)
    worker.turn()
    worker.deliver()
    assert answers[0].failed


def test_the_thread_asks_and_ends(core):
    worker, answers = Worker(core.request), []
    worker.start()
    worker.ask("session", {"op": "areas"}, answers.append)
    while not worker.deliver():
        assert worker.alive
    worker.stop()
    assert not worker.alive
    assert len(answers[0].content["areas"]) == 6


# ------------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize("junk", [None, 5, "text", [None], [[]], [{"id": 1}], [{"point": {}}], {"a": 1}])
def test_a_list_that_is_none_reads_as_what_it_holds(junk):
    assert read_areas({"areas": junk}, 0) == ()
    assert read_safety_tags({"safety_tags": junk}) == ()
    assert read_overrides({"overrides": junk}, 0) == ()
    assert len(read_operations({"selected": junk, "running": junk, "recent": junk})) in (0, 3)


def test_one_broken_entry_does_not_hide_the_others():
    good = {"id": "grid", "name_ko": "연계점", "name_en": "Tie-line"}
    found = read_areas({"areas": [{}, good, {**good, "expires_in_s": "soon"}]}, 0)
    assert [one.area_id for one in found] == ["grid"]
    assert found[0].expires_mono_ns == NEVER


@pytest.mark.parametrize("content", [{}, {"select_id": 1}, {"select_id": "1", "point": "p", "until_mono_ns": "x"}])
def test_a_selection_that_is_none_fails(content):
    procedure = Procedure().select("p").selected(Answer("selected", content))
    assert (procedure.stage, procedure.code) == (Stage.FAILED, "malformed")


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(("text", "value"), [("250", 250_000.0), ("-1,250.5 kW", -1_250_500.0), ("300000 W", 300_000.0),
                                             (" +0.1kW", 100.0), ("0", 0.0)])  # fmt: skip
def test_typed_power_is_kilowatts(text, value):
    assert Scale.of("W").typed(text) == value


@pytest.mark.parametrize(("text", "key"), [
    ("", "empty"), ("abc", "no_number"), ("1,25", "no_number"), ("1e9", "wrong_unit"), ("12 MW", "wrong_unit"),
    ("1..2", "no_number"), ("--5", "no_number"), ("nan", "no_number"), ("5 kWh", "wrong_unit"),
])  # fmt: skip
def test_what_is_no_power_is_told(text, key):
    with pytest.raises(TypedError, match=f"typed.{key}"):
        Scale.of("W").typed(text)


def test_numbers_come_back_as_they_were_typed():
    for value in (0.0, 100.0, -250_000.0, 1_234_567.0):
        assert Scale.of("W").typed(Scale.of("W").exact(value)) == value
    assert Scale.of("").text(math.nan) == "—"
