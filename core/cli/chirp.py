"""``gwanje acoustic chirp``: test a camera's loudspeaker and its node's microphones now, as every day by itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from gwanje.core.bus.bus import Bus, Subscriber
from gwanje.core.bus.messages import Event
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.speech import column_of, with_lang
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import NS_PER_S, Clock, SystemClock
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.messages import Expired, Outcome, TimedOut
from gwanje.core.requests import Refused
from gwanje.core.site.config import Site

WAIT_S = 12.0
"""The sound takes a second, the look three more; a busy machine the rest."""
PART = "acoustic"
CLASS_NAME = "self_test"
WELL = "heard"

WORDS: Mapping[str, tuple[str, str]] = {
    "played": ("시험음을 냅니다", "the test sound is played"),
    "refused": ("거부", "REFUSED"),
    "no_answer": ("응답 없음: 결과 불명", "no answer: the outcome is not known"),
    "no_result": ("판정이 오지 않았습니다", "no verdict has come"),
    "mic": ("마이크", "microphone"),
}  # fmt: skip


def add(commands: Commands) -> None:
    """Add the command to its group."""
    chirp = commands.add("chirp", _chirp, "test a camera's loudspeaker and its node's microphones now")
    chirp.add_argument("camera", metavar="CAMERA")
    chirp.add_argument("--reason", default="self-test on request", help="for the journal")
    with_lang(chirp)
    with_site(chirp)


def tested(site: Site, camera: str) -> str:
    """The point by which a camera is tested.

    Raises:
        CommandError: there is none of that name, or it has no loudspeaker or no microphones.
    """
    device = next((one for one in site.devices if one.name == camera), None)
    if device is None:
        raise CommandError(f"no device {camera!r}")
    point = next((one.tag for one in device.commands if one.at.get("do") == "chirp"), "")
    if not point:
        raise CommandError(f"{camera} has no loudspeaker that can be tested (a command with do = \"chirp\")")
    node = device.params.get("node", "")
    if node not in {one.name for one in site.nodes}:
        raise CommandError(f"{camera} stands at no microphone node of the site (params.node)")
    return point


def _chirp(chosen: argparse.Namespace) -> int:
    site, run_dir, _info = attached(chosen)
    column, clock = column_of(chosen.lang), SystemClock()
    point = tested(site, chosen.camera)
    bus = Bus(run_dir, "cli", clock, site.tags.n)
    heard = bus.subscriber(["event"], [PART])
    try:
        client = CommandClient(bus, read_token(run_dir))
        outcome = client.write(point, 1.0, chosen.reason, seen_mono_ns=clock.mono_ns())
        if _failed(outcome, column):
            return 1
        print(f"{chosen.camera}: {WORDS['played'][column]}", flush=True)
        event = _verdict(heard, chosen.camera, clock)
    finally:
        heard.close()
        bus.close()
    if event is None:
        print(WORDS["no_result"][column], file=sys.stderr)
        return 1
    print((event.text_ko, event.text_en)[column])
    for at in range(1, 9):
        if f"snr_db_{at}" in event.data:
            delay = event.data.get(f"delay_us_{at}")
            late = "" if delay is None else f"  {float(delay) / 1e3:+.2f} ms"
            level, ratio = event.data[f"level_db_{at}"], event.data[f"snr_db_{at}"]
            print(f"  {WORDS['mic'][column]} {at}: {level:>7} dBFS  SNR {ratio:>6} dB{late}")
    return 0 if event.data.get("result") == WELL else 1


def _failed(outcome: Outcome, column: int) -> bool:
    """Print why nothing was played, if so."""
    match outcome:
        case Refused():
            why = (outcome.text_ko, outcome.text_en)[column]
            print(f"{WORDS['refused'][column]}: {why}  [{outcome.code}]", file=sys.stderr)
            return True
        case Expired() | TimedOut():
            print(WORDS["no_answer"][column], file=sys.stderr)
            return True
    return False


def _verdict(heard: Subscriber, camera: str, clock: Clock) -> Event | None:
    """The acoustic chain's verdict on a test of this camera, once it comes."""
    until_ns = clock.mono_ns() + round(WAIT_S * NS_PER_S)
    while (left_ns := until_ns - clock.mono_ns()) > 0:
        heard.poll(max(1, left_ns // 1_000_000))
        while (message := heard.receive()) is not None:
            if isinstance(message, Event) and message.class_name == CLASS_NAME and message.data.get("camera") == camera:
                return message
    return None
