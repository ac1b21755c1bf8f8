"""A hundred chargers without sockets: sharing out their power, what to send, and a message with readings."""

import pytest

from gwanje.core.clock import SystemClock
from gwanje.io.field.bench import PARTS
from gwanje.io.field.ocpp import bench
from gwanje.io.field.ocpp.allot import Claim, allot
from gwanje.io.field.ocpp.desk import LimitDesk
from gwanje.io.field.ocpp.frames import Call, call_text
from gwanje.io.field.ocpp.rpc import Conversation
from gwanje.io.field.ocpp.settings import ChargerSettings

pytestmark = pytest.mark.bench
S = 1_000_000_000
CAR = ChargerSettings("1.6", 7_040.0, 1_320.0)


def test_sharing_out_among_a_hundred_chargers_in_three_groups(benchmark):
    """Budget: 2 ms."""
    claims = [Claim((n % 3, 3), 1_320.0, 7_040.0) for n in range(100)]
    given = benchmark(allot, claims, [90_000.0, 120_000.0, 70_000.0, 250_000.0])
    assert sum(given) == pytest.approx(250_000.0)


def test_a_new_limit_becomes_a_hundred_calls(benchmark):
    """Budget: 5 ms from the limit to what is to be sent."""
    now = 1_000 * S
    desk = LimitDesk({"g": 700_000.0}, {f"c{n}": (CAR, ["g"], 300.0) for n in range(100)}, now)
    for name in desk.leaves:
        desk.presence(name, True)
        desk.session(name, True, False)
    limits = [400_000.0, 200_000.0]

    def turn():
        desk.limit("g", limits[0])
        limits.reverse()
        sends = desk.plan(now)
        for send in sends:
            desk.confirmed(send.leaf, send.limit_w, now)
        return sends

    turn()
    benchmark(turn)
    assert desk.sum_w(desk.node("g"), now) <= 400_000.0


def test_a_message_with_readings_from_text_to_answer(benchmark):
    """Budget: 200 µs; 60 on the machine it was written on."""
    talk = Conversation("1.6", lambda _action, _payload: {})
    clock, number = SystemClock(), iter(range(10_000_000))
    answer = benchmark(lambda: talk.receive(bench.readings_text(clock, next(number))))
    assert answer.startswith("[3,")
    assert call_text(Call("a", "Heartbeat", {})) == '[2,"a","Heartbeat",{}]'


def test_the_figures_of_the_chargers_are_registered():
    assert bench.__name__ in PARTS
