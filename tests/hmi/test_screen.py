"""What the screen asks of the core: acknowledgements, with whose session, and what becomes of a refusal."""

from types import SimpleNamespace

from gwanje.core.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.hmi import screen
from gwanje.hmi.link import Inbox


class Core:
    """Answers acknowledgements with what it is given, and notes with which session."""

    def __init__(self, answer):
        self.answer = answer
        self.sessions = []

    def request(self, name, message, timeout_ms):
        self.sessions.append(message["session"])
        if self.answer is None:
            raise RequestTimeoutError(f"service {name!r} did not answer")
        return self.answer


def acknowledge(core, *alarm_ids):
    link = SimpleNamespace(inbox=Inbox())
    screen._acknowledge(core, link, VirtualClock(), list(alarm_ids))
    return link.inbox.take().events


def test_a_screen_claims_nobodys_name():
    core = Core({"outcome": "acknowledged"})
    assert acknowledge(core, "tie_high") == []
    assert core.sessions == [""], "nobody can sign in at a screen yet: the core refuses it"


def test_a_refusal_is_told_and_the_others_are_still_asked():
    core = Core({"outcome": "refused", "text_ko": "없음", "text_en": "there is none"})
    events = acknowledge(core, "a", "b")
    assert [event.class_name for event in events] == ["acknowledgement_refused"] * 2
    assert "there is none" in events[0].text_en


def test_a_silent_core_is_asked_once():
    core = Core(None)
    assert len(acknowledge(core, "a", "b")) == 1
    assert len(core.sessions) == 1
