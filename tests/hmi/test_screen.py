"""What the screen asks of the core: acknowledgements, in whose name, and what becomes of a refusal."""

import os
import pwd
from types import SimpleNamespace

from gwanje.core.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.hmi import screen
from gwanje.hmi.link import Inbox


class Core:
    """Answers acknowledgements with what it is given, and notes who asked."""

    def __init__(self, answer):
        self.answer = answer
        self.authors = []

    def request(self, name, message, timeout_ms):
        self.authors.append(message["author"])
        if self.answer is None:
            raise RequestTimeoutError(f"service {name!r} did not answer")
        return self.answer


def acknowledge(core, *alarm_ids):
    link = SimpleNamespace(inbox=Inbox())
    screen._acknowledge(core, link, VirtualClock(), list(alarm_ids))
    return link.inbox.take().events


def test_a_user_without_a_name_can_acknowledge(monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    core = Core({"outcome": "acknowledged"})
    assert acknowledge(core, "tie_high") == []
    assert core.authors == [f"uid {os.getuid()}"]


def test_a_refusal_is_told_and_the_others_are_still_asked():
    core = Core({"outcome": "refused", "reason_ko": "없음", "reason_en": "there is none"})
    events = acknowledge(core, "a", "b")
    assert [event.class_name for event in events] == ["acknowledgement_refused"] * 2
    assert "there is none" in events[0].text_en


def test_a_silent_core_is_asked_once():
    core = Core(None)
    assert len(acknowledge(core, "a", "b")) == 1
    assert len(core.authors) == 1
