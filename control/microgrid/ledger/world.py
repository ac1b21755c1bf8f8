"""Whose time the ledger counts in: the wall's, or that of a simulated world that runs faster.

With ``--speed X`` the world of a simulated city, and the energy of its batteries with it, moves X seconds in one
(docs/decisions/0005). The tie-line's set-point layer steps by the same factor. So the ledger's samples last X times as
long too: its quarter hours, days and months are the world's, they begin at the wall's time of the start and run ahead
of it. Where the world stands is kept in the run directory: a part that is started anew goes on in the same world. At
speed 1, and wherever a meter is real, the ledger's time is the wall's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from gwanje.core.state_file import StateFile

FILE = "ledger-world.json"
BYTES_MAX = 1_024


@dataclass(frozen=True, slots=True)
class World:
    """A clock of the world.

    Attributes:
        speed: seconds of the world in one.
        utc_ns: the world's time at ``mono_ns``.
        mono_ns: monotonic.
    """

    speed: float
    utc_ns: int
    mono_ns: int

    def now_ns(self, mono_ns: int, utc_ns: int) -> int:
        """The world's time; at speed 1 the wall's, whatever steps it makes."""
        return utc_ns if self.speed == 1.0 else self.utc_ns + self.span_ns(mono_ns - self.mono_ns)

    def span_ns(self, span_ns: int) -> int:
        """How long a span of ours is there."""
        return span_ns if self.speed == 1.0 else round(span_ns * self.speed)


def taken_up(run_dir: Path, speed: float, counted_utc_ns: int, mono_ns: int, utc_ns: int) -> World:
    """The world of this run, as its ledger began with it.

    Args:
        run_dir: of the city, gone after the run.
        speed: of the run; 1 where a meter is real.
        counted_utc_ns: end of what is counted already; a faster world begins after it.
        mono_ns: now.
        utc_ns: now.

    Raises:
        OSError: the run directory cannot be written.
    """
    if speed == 1.0:
        return World(1.0, utc_ns, mono_ns)
    file = StateFile(run_dir / FILE, BYTES_MAX)
    try:
        known = file.load()
        if known is not None:
            world = World(float(known["speed"]), int(known["utc_ns"]), int(known["mono_ns"]))
            if world.speed == speed and world.mono_ns <= mono_ns:
                return world
    except (ValueError, TypeError, KeyError):
        file.doubt()
    world = World(speed, max(utc_ns, counted_utc_ns), mono_ns)
    file.save(asdict(world))
    return world
