"""The authority's files: what an earlier core kept, damaged or not; the door of failures keeps its limits."""

import stat

import pytest

from gwanje.core.authority import attempts as limits
from gwanje.core.authority.attempts import Attempts
from gwanje.core.authority.kept import STATE_BYTES_MAX, STATE_FILE, Outside
from gwanje.core.clock import VirtualClock
from gwanje.core.state_file import StateFile

S = 1_000_000_000


class Publisher:
    def __init__(self):
        self.events = []

    def event(self, event):
        self.events.append(event)


def made(folder):
    return StateFile(folder / STATE_FILE, STATE_BYTES_MAX)


def test_what_is_kept_is_for_this_user_alone_and_comes_back(tmp_path):
    outside = Outside(made(tmp_path), Publisher(), VirtualClock())
    for number in (1, 2):
        outside.save({"version": 1, "number": number, "name": "홍길동"})
    assert made(tmp_path).load() == {"version": 1, "number": 2, "name": "홍길동"}
    assert stat.S_IMODE((tmp_path / "sessions.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.json"]


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "sessions.json.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        Outside(made(tmp_path), Publisher(), VirtualClock()).save({})
    assert not (tmp_path / "elsewhere").exists()


def test_what_happens_to_an_area_is_an_event_for_every_screen(tmp_path):
    publisher = Publisher()
    Outside(made(tmp_path), publisher, VirtualClock()).announce("area_taken", "jincheon", "관할 인수", "area taken")
    (event,) = publisher.events
    assert (event.kind, event.class_name, event.source) == ("authority", "area_taken", "jincheon")


# ---------------------------------------------------------------- failures


def test_names_that_fail_are_counted_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(limits, "NAMES_MAX", 4)
    attempts = Attempts()
    for number in range(20):
        attempts.failed(f"name{number}", S)
    assert len(attempts._names) == 4


def test_a_user_without_failures_for_a_while_begins_anew():
    attempts = Attempts()
    for _ in range(20):
        attempts.failed("kim", S)
    assert attempts.wait_s("kim", S) == limits.WAIT_S_MAX
    later = S + round(limits.FORGET_S * S)
    assert attempts.wait_s("kim", later) == 0.0
    attempts.failed("kim", later)
    assert attempts.wait_s("kim", later) == 0.0, "one failure, not twenty-one"


def test_failures_of_all_are_forgotten_after_a_quiet_while():
    attempts = Attempts()
    for number in range(limits.FREE_TOGETHER):
        attempts.failed(f"name{number}", S)
    assert attempts.wait_s("kim", S) == limits.WAIT_TOGETHER_S
    later = S + round(limits.FORGET_TOGETHER_S * S)
    attempts.failed("kim", later)
    assert attempts.wait_s("park", later) == 0.0


def test_guessing_all_day_gets_so_many_guesses():
    """Whoever asks as soon as it is allowed: fewer than 1 500 passwords of one user a day."""
    attempts, now, tried = Attempts(), S, 0
    while now < 86_400 * S:
        attempts.failed("kim", now)
        tried += 1
        now += round(attempts.wait_s("kim", now) * S) or S
    assert tried < 1_500
