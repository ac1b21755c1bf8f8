"""``gwanje listen``: a person hears a microphone node, with a reason, for a minute at most. Everybody sees it.

The sound goes to a player of this machine, or nowhere: there is no option to write it anywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from gwanje.core.bus.bus import Bus
from gwanje.core.cli.parsing import Commands, attached, with_site
from gwanje.core.cli.sound_programs import PLAYERS, Player, found, names
from gwanje.core.cli.speech import column_of, with_lang
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.requests import Code
from gwanje.core.sound.client import LISTEN_RATE_HZ, Ear, Heard, Over
from gwanje.core.sound.grants import SECONDS_LEAST, SECONDS_MAX

PULL_NS = NS_PER_S // 10
SHOW_NS = NS_PER_S // 2
BAR_FROM_DB, BAR_DB = -70.0, 2.5
"""A mark of the bar for every 2.5 dB above −70."""

WORDS: Mapping[str, tuple[str, str]] = {
    "begun": ("듣고 있습니다. 모두에게 표시되고 일지에 기록됩니다", "listening; everybody sees it, the journal has it"),
    "no_player": (
        "재생 프로그램이 없어 크기만 표시합니다 ({})", "no program that plays works here ({}): the level alone is shown"
    ),
    "muted": ("방송 중 (무음)", "own loudspeaker (silence)"),
    "left": ("남은 시간", "left"),
    "ended": ("청취 끝", "listening has ended"),
    "refused": ("거부", "REFUSED"),
    "login": ("gwanje login 이름", "gwanje login NAME"),
}  # fmt: skip


def add(commands: Commands) -> None:
    """Add the command."""
    listen = commands.add("listen", _listen, "hear a microphone node live: a minute at most, with a reason, journalled")
    listen.add_argument("node", metavar="NODE")
    listen.add_argument("--reason", required=True, help="for the journal and for everybody")
    with_seconds(listen)
    with_lang(listen)
    with_site(listen)


def with_seconds(sub: argparse.ArgumentParser) -> None:
    """Let a person say for how long."""
    sub.add_argument(
        "--for", dest="for_s", type=_seconds, default=SECONDS_MAX, metavar="S", help="seconds, 60 at most (default: 60)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not SECONDS_LEAST <= value <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"must be {SECONDS_LEAST:g}…{SECONDS_MAX:g}")
    return value


def refused(why: Over, column: int) -> int:
    """Print why nothing is heard or said; the exit code."""
    hint = ""
    if why.code in (Code.NOT_SIGNED_IN, Code.SESSION_OVER, Code.SESSION_LOCKED):
        hint = f"  ({WORDS['login'][column]})"
    print(f"{WORDS['refused'][column]}: {(why.text_ko, why.text_en)[column]}  [{why.code}]{hint}", file=sys.stderr)
    return 1


def _listen(chosen: argparse.Namespace) -> int:
    _site, run_dir, _info = attached(chosen)
    column, clock = column_of(chosen.lang), SystemClock()
    bus = Bus(run_dir, "cli", clock)
    ear = Ear(bus, read_token(run_dir))
    player = Player(found(PLAYERS, LISTEN_RATE_HZ))
    meter = Meter(chosen.node, column)
    try:
        why = ear.begin(chosen.node, chosen.reason, chosen.for_s)
        if why is not None:
            return refused(why, column)
        print(f"{chosen.node}: {WORDS['begun'][column]}", flush=True)
        due_ns, told = clock.mono_ns(), False
        while True:
            heard = ear.hear()
            if isinstance(heard, Over):
                meter.close()
                if ear.left_s > PULL_NS / NS_PER_S:
                    return refused(heard, column)
                print(WORDS["ended"][column])
                return 0
            player.play(heard.samples)
            if not player.able and not told:
                told = True
                print(WORDS["no_player"][column].format(names(PLAYERS)), flush=True)
            meter.show(heard, clock.mono_ns())
            due_ns = max(due_ns + PULL_NS, clock.mono_ns())
            clock.wait_until_mono_ns(due_ns)
    except KeyboardInterrupt:
        meter.close()
        print(WORDS["ended"][column])
        return 0
    finally:
        ear.end()
        player.close()
        bus.close()


class Meter:
    """The level as a bar: one line that changes on a terminal, else a line twice a second."""

    def __init__(self, name: str, column: int) -> None:
        self._name, self._column = name, column
        self._due_ns = 0
        self._moving = sys.stdout.isatty()

    def show(self, heard: Heard, now_ns: int) -> None:
        """Show the newest, twice a second."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + SHOW_NS
        level_db = heard.level_db
        bar = "█" * max(0, round((level_db - BAR_FROM_DB) / BAR_DB))
        what = WORDS["muted"][self._column] if heard.muted else f"{level_db:6.1f} dB {bar:<28}"
        line = f"{self._name}  {what}  {WORDS['left'][self._column]} {heard.left_s:.0f} s"
        print(f"\r\x1b[K{line}" if self._moving else line, end="" if self._moving else "\n", flush=True)

    def close(self) -> None:
        """Leave the line as it is."""
        if self._moving:
            print()
