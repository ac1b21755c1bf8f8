"""The service ``tuning``: engineers draft, the core says who asks, and what is owed reaches the journal."""

import pytest
from simulation import MemoryDisk
from tuning_rig import Rig, command

from gwanje.control.tuning.service import PAY_AGAIN_NS, Journal, TuningService
from gwanje.core.authority.principal import Principal, Role
from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.service import JournalService
from gwanje.core.journal.texts import describe
from gwanje.core.journal.writer import Journal as Chain
from gwanje.core.requests import Code, RequestError, refusal

DRAFT = {"op": "draft", "session": "kim/engineer", "changes": {"ki_per_s": 3}, "reason": "better", "limits": {}}


class Core:
    """A bus with the core's two services behind it; a session reads ``name/role``."""

    def __init__(self):
        self.chain = Chain(MemoryDisk(), "journal.jsonl", VirtualClock())
        self.journal = JournalService(JournalDesk(self.chain), self.chain.recent, self)
        self.dead = self.locked = False

    def principal(self, message):
        if "/" not in str(message.get("session")):
            raise RequestError(Code.NOT_SIGNED_IN, "")
        name, _, role = str(message["session"]).partition("/")
        return Principal(name, Role(role), f"s-{name}")

    def request(self, name, message, timeout_ms=2_000):
        if self.dead:
            raise RequestTimeoutError(f"{name} does not answer")
        if name == "journal":
            return self.journal.handle(message)
        assert (name, message["op"]) == ("session", "who")
        try:
            who = self.principal(message)
        except RequestError as error:
            return refusal(error.code, error.detail)
        return {"outcome": "principal", "user": who.name, "role": str(who.role), "locked": self.locked}

    def entries(self):
        return [one for one in self.chain.recent() if one.kind == "tuning_changed"]


@pytest.fixture
def core():
    return Core()


@pytest.fixture
def rig(tmp_path, core):
    rig = Rig(tmp_path)
    rig.record = Journal(core, lambda: "control/program").record
    rig.start()
    return rig


@pytest.fixture
def service(rig, core):
    return TuningService(rig.desk, core, rig.record, rig.clock)


def test_an_engineer_drafts_and_everybody_sees_it(service):
    made = service.answer({**DRAFT, "limits": {"error_rms_pct": 1, "ticks_lost": 5.0}, "watch_s": 30.0})
    assert (made["outcome"], made["number"], made["state"]) == ("drafted", 1, "draft")
    tried = service.answer({**DRAFT, "figures": {"hour.rms_pct": 0.1}})
    assert tried["state"] == "dry_run"
    status = service.answer({"op": "status"})
    first = status["sets"][0]
    assert (first["author"], first["changes"][0]["after"], first["limits"]["error_rms_pct"]) == ("kim", 3.0, 1.0)
    assert status["values"]["tie_line.ki_per_s"] == 2.0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session": "lee/supervisor"}, "role_not_allowed"),
        ({"session": "control/program"}, "role_not_allowed"),
        ({"session": "nobody"}, "not_signed_in"),
        ({"session": ""}, "malformed"),
        ({"changes": {"ki_per_s": 99}}, "refused_by_owner"),
        ({"changes": {"ki_per_s": "3"}}, "not_finite"),
        ({"changes": {"ki_per_s": float("nan")}}, "not_finite"),
        ({"changes": [1]}, "malformed"),
        ({"limits": {"nonsense": 1.0}}, "refused_by_owner"),
        ({"reason": ""}, "malformed"),
        ({"watch_s": 1e6}, "refused_by_owner"),
        ({"op": "erase"}, "malformed"),
    ],
)
def test_what_cannot_be_is_refused(service, change, code):
    answer = service.answer({**DRAFT, **change})
    assert (answer["outcome"], answer["code"]) == ("refused", code)
    assert service.answer({"op": "status"})["sets"] == []


def test_a_locked_session_and_a_dead_core_draft_nothing(service, core):
    core.locked = True
    assert service.answer(DRAFT)["code"] == "session_locked"
    core.dead = True
    assert service.answer(DRAFT)["code"] == "no_author"


def test_the_journal_tells_who_changed_what_and_that_it_was_rolled_back(rig, service, core):
    rig.go(3)
    number = service.answer(DRAFT)["number"]
    assert rig.desk.carry_out(command(number)) is None
    (entry,) = core.entries()
    assert (entry.data["author"], entry.data["value"], entry.data["before"]) == ("control", 3.0, 2.0)
    assert "kim: better" in describe(entry, "en")
    rig.go(1)
    rig.degradations = 1
    rig.go(1)
    assert rig.state(number) == "rolled_back"
    core.dead = True
    service.pay()
    core.dead = False
    service.pay()
    assert len(core.entries()) == 1, "a core that did not answer is not asked again at once"
    rig.clock.advance_ns(PAY_AGAIN_NS)
    service.pay()
    service.pay()
    back = core.entries()[-1]
    assert len(core.entries()) == 2
    assert (back.data["value"], back.data["before"]) == (2.0, 3.0)
    assert "new degradations 1 > 0" in back.data["reason"]


def test_without_the_core_nothing_is_applied(rig, service, core):
    rig.go(2)
    number = service.answer(DRAFT)["number"]
    core.dead = True
    assert str(rig.desk.carry_out(command(number)).code) == "journal_unwritable"
    assert rig.state(number) == "draft"
