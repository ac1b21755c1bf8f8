"""The lease's keeper against every answer of the command path."""

from gwanje.control.lease import LeaseKeeper, LeaseThread
from gwanje.core.commands.messages import Granted, Released, TimedOut
from gwanje.core.requests import Code, Refused

POINTS = ("control.ess1.discharge_setpoint_w", "control.ess2.discharge_setpoint_w")


class Core:
    """Answers as it is told and notes what it was asked."""

    def __init__(self):
        self.asked = []
        self.answer = Granted("tie_line", "id", POINTS, 1)

    def lease(self, name, points, ttl_s, reason):
        self.asked.append("lease")
        return self.answer

    def renew(self, name):
        self.asked.append("renew")
        return self.answer

    def release(self, name):
        self.asked.append("release")
        return Released(name)


def keeper():
    core = Core()
    return core, LeaseKeeper(core, "tie_line", POINTS, "tie-line control")


def test_asks_once_then_renews_then_releases():
    core, lease = keeper()
    for wanted in (False, True, True, True, False, False):
        lease.step(wanted)
    assert core.asked == ["lease", "renew", "renew", "release"]
    assert lease.view.points == ()


def test_asks_anew_when_a_renewal_is_refused():
    core, lease = keeper()
    lease.step(True)
    core.answer = Refused(Code.LEASE_NOT_HELD)
    assert lease.step(True).points == ()
    assert "not held" in lease.view.reason_en
    core.answer = Granted("tie_line", "id2", POINTS, 1)
    assert lease.step(True).points == POINTS
    assert core.asked == ["lease", "renew", "lease"]


def test_silence_of_the_core_keeps_renewing():
    core, lease = keeper()
    lease.step(True)
    core.answer = TimedOut("")
    assert lease.step(True).points == POINTS
    lease.step(True)
    assert core.asked == ["lease", "renew", "renew"]


def test_bits_name_the_batteries_that_are_covered():
    core, lease = keeper()
    assert lease.bits() == 0b11
    core.answer = Granted("tie_line", "id", POINTS[1:], 1)
    lease.step(True)
    assert lease.bits() == 0b10


def test_a_lease_that_somebody_else_holds_covers_nothing_of_ours():
    core, lease = keeper()
    core.answer = Refused(Code.LEASED, "tie_line of optimizer")
    lease.step(True)
    assert lease.bits() == 0, "the lease's tag is valid, but for the other holder"
    core.answer = Granted("tie_line", "id", POINTS, 1)
    lease.step(True)
    assert lease.bits() == 0b11


def test_thread_steps_and_ends():
    import threading

    core, lease = keeper()
    asked = threading.Event()

    def wanted():
        asked.set()
        return True

    thread = LeaseThread(lease, wanted)
    thread.start()
    assert asked.wait(30)
    thread.close(30)
    assert core.asked[0] == "lease"
