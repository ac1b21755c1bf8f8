"""The daily test of loudspeakers and microphones: each camera's turn comes once a day, a quarter of a minute apart.

The test sound is a command like any other: this part asks the core for it with its own credential, so that it is in the
journal and stays silent behind a closed gate or a danger tag. What the microphones heard the acoustic chain judges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.messages import Outcome
from gwanje.core.requests import Refused
from gwanje.core.site.config import Device

APART_S = 15.0
"""Between the turns of two cameras: neighbours must not hear each other's test."""
LATE_S = 120.0
"""A turn that was missed for longer (the part was down, the clock stepped) waits for tomorrow."""
LOOK_S = 5.0
"""How often the wall clock is looked at: it may step."""
REASON = "daily self-test"


@dataclass(frozen=True, slots=True)
class Turn:
    """One camera's time of day.

    Attributes:
        camera: name of the camera.
        point: to be commanded.
        second: of the site's day.
    """

    camera: str
    point: str
    second: int


def turns_of(devices: Sequence[Device], nodes: Collection[str]) -> list[Turn]:
    """The daily turns of all cameras with ``params.self_test.at`` and a node; those of one time follow each other."""
    before: dict[str, int] = {}
    found = []
    for one in devices:
        at = one.params.get("self_test", {}).get("at", "")
        point = next((command.tag for command in one.commands if command.at.get("do") == "chirp"), "")
        if at and point and one.params.get("node") in nodes:
            hours, minutes = (int(word) for word in at.split(":"))
            second = hours * 3_600 + minutes * 60 + round(before.get(at, 0) * APART_S)
            found.append(Turn(one.name, point, second % 86_400))
            before[at] = before.get(at, 0) + 1
    return found


class Timetable:
    """Says whose turn has come. Pure: the time is handed in.

    Args:
        turns: of all cameras.
        zone: the site's time zone.
        utc_ns: now; turns before it are over.
    """

    def __init__(self, turns: Sequence[Turn], zone: str, utc_ns: int) -> None:
        self._zone = ZoneInfo(zone)
        self._due = {one: self._next(one, utc_ns) for one in turns}

    def _next(self, turn: Turn, utc_ns: int) -> int:
        """When a turn comes next, UTC ns."""
        now = datetime.fromtimestamp(utc_ns / NS_PER_S, self._zone)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (0, 1):
            due = round((midnight + timedelta(days=day, seconds=turn.second)).timestamp()) * NS_PER_S
            if due > utc_ns:
                return due
        return utc_ns + 86_400 * NS_PER_S

    def due(self, utc_ns: int) -> list[Turn]:
        """Whose turn has come since the last call; a turn that is long over is left out."""
        found = []
        for turn, due_ns in self._due.items():
            if due_ns <= utc_ns or due_ns - utc_ns > 86_400 * NS_PER_S:  # the second: the clock was set back
                if 0 <= utc_ns - due_ns <= LATE_S * NS_PER_S:
                    found.append(turn)
                self._due[turn] = self._next(turn, utc_ns)
        return found


async def run(
    table: Timetable, clock: Clock, write: Callable[[str, str], Outcome], tell: Callable[[Turn, Refused], None]
) -> None:
    """Ask for every test in its time, until cancelled.

    Args:
        table: of all cameras.
        clock: of the machine.
        write: asks the core to let a point be 1, with a reason; may wait, and is called on another thread.
        tell: which turn was refused; one that nobody answered is told by the command's own end.
    """
    while True:
        for turn in table.due(clock.utc_ns()):
            outcome = await asyncio.to_thread(write, turn.point, REASON)
            if isinstance(outcome, Refused):
                tell(turn, outcome)
        await asyncio.sleep(LOOK_S)
