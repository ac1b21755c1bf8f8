"""What tests of families in a running city share: waiting, its families, its simulator, a person at the terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.clock import SystemClock

PASSWORD = "seven green kites"


def until(condition, seconds=60.0):
    """What the condition gives, once it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
    return found


def family(city, part):
    """The part's line of ``gwanje status``."""
    return next(one for one in city.status()["families"] if one["part"] == part)


def ask(city, message):
    """A request to the simulated devices."""
    bus = Bus(city.run_dir, "hmi", SystemClock())
    try:
        return bus.request("simcity", message)
    finally:
        bus.close()


def state(city, device):
    """What is true of a simulated device, whatever it says."""
    return ask(city, {"op": "state", "device": device})["state"]


@contextmanager
def hearing(city, part):
    """Hear a part from now on; gives the classes of all events so far, also of a state that is soon over."""
    bus = Bus(city.run_dir, "hmi", SystemClock())
    subscriber = bus.subscriber(["scan", "event"], [part], high_water=100_000)
    heard = set()

    def classes():
        subscriber.poll(100)
        while (message := subscriber.receive()) is not None:
            heard.add(message.class_name if isinstance(message, Event) else "")
        return heard

    try:
        until(classes)  # whatever comes first: from here on everything does
        yield classes
    finally:
        subscriber.close()
        bus.close()


def sign_in(city, *areas):
    """A new operator at the terminal, who takes areas."""
    _with_password(city, "user", "add", "minji", "--role", "operator", "--data", str(city.data))
    until(lambda: "signed in as" in _with_password(city, "login", "minji", "--run", str(city.run_dir)))
    for area in areas:
        held = city.cli("area", "take", area)
        assert held.returncode == 0, held.stdout + held.stderr


def _with_password(city, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "gwanje.core.cli.main", *arguments, "--password-stdin", "--site", str(city.site)],
        input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr
