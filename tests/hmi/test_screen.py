"""What a screen is put together from: who may ask, and when it counts as alive."""

from types import SimpleNamespace

from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.hmi import screen
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.worker import Worker
from gwanje.hmi.link import LinkState


class Thread:
    """A thread that lives or not."""

    def __init__(self, alive=True):
        self.alive = alive
        self.state = LinkState(core_heard_mono_ns=1)
        self.stopped = False

    def stop(self):
        self.stopped = True

    finish = stop


def build(link, worker, desk=None):
    view = SimpleNamespace(close=lambda: None)
    clock = SimpleNamespace(stop=lambda: None)
    live = SimpleNamespace(clock=VirtualClock(), desk=desk)
    return screen.Screen(None, link, worker, clock, view, live)


def test_a_screen_lives_only_while_both_of_its_threads_do():
    assert build(Thread(), Thread()).alive
    assert not build(Thread(False), Thread()).alive
    assert not build(Thread(), Thread(False)).alive


def test_who_sits_here_is_signed_out_when_the_window_closes():
    asked = []
    worker = Worker(lambda service, message, _timeout_ms: asked.append(message["op"]) or {
        "outcome": "signed_in", "session": "secret", "session_id": "1", "user": "kim", "role": "operator"})
    desk = Desk(worker, VirtualClock(), "seat")
    desk.sign_in("kim", "x", lambda _answer: None)
    worker.turn()
    worker.deliver()
    link = Thread()
    built = build(link, worker, desk)
    worker.start()
    built.close()
    assert asked == ["sign_in", "sign_out"]
    assert link.stopped
    assert not desk.signed_in


def test_a_core_that_is_gone_is_not_waited_for():
    asked = []

    def request(_service, message, _timeout_ms):
        asked.append(message["op"])
        raise RequestTimeoutError("gone")

    link = Thread()
    link.state.core_heard_mono_ns = 0
    worker = Worker(request)
    built = build(link, worker, Desk(worker, VirtualClock(), "seat"))
    built.live.clock.advance_ns(10_000_000_000)
    built.close()
    assert asked == []
