"""What a part gets when it starts, and how it is told to stop."""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gwanje.core.authority import credentials
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import Clock, readable
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import TagTable

if TYPE_CHECKING:
    from gwanje.core.site.config import Site

ENTRIES = {
    "core": "gwanje.core.main",
    "sim": "gwanje.io.sim.main",
    "simsound": "gwanje.io.sim.microphones",
    "simcity": "gwanje.io.sim.city.main",
    "broker": "gwanje.io.field.mqtt.broker",
    "field": "gwanje.io.field.modbus.main",
    "meters": "gwanje.io.field.dlms.main",
    "charging": "gwanje.io.field.ocpp.main",
    "street": "gwanje.io.field.street.main",
    "signals": "gwanje.io.field.ntcip.main",
    "heat": "gwanje.io.field.bacnet.main",
    "cameras": "gwanje.io.field.onvif.main",
    "media": "gwanje.io.field.media",
    "control": "gwanje.control.main",
    "microgrid": "gwanje.control.microgrid.live.part",
    "planner": "gwanje.control.microgrid.planner.entry",
    "ledger": "gwanje.control.microgrid.ledger.part",
    "estimation": "gwanje.control.microgrid.estimation.part",
    "acoustic": "gwanje.control.acoustic.main",
    "historian": "gwanje.historian.main",
    "query": "gwanje.historian.service",
    "hmi": "gwanje.hmi.main",
    "remote": "gwanje.core.remote.main",
}
"""Part → module whose ``main(ctx)`` it runs. By name, so that core imports none of them."""


class PartError(Exception):
    """A part cannot run; the text is one line for the person who started the city."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the person asked of this run.

    Attributes:
        speed: how much faster the simulated world runs than real time, ≥ 1.
        seed: of everything random in the simulated city.
        start_s: second of the measured day to start in.
        lang: ``ko`` or ``en``.
        data_dir: where this run keeps its history, journal and state.
    """

    speed: float = 1.0
    seed: int = 1
    start_s: float = 14_400.0
    lang: str = "ko"
    data_dir: str = ""

    @property
    def history_dir(self) -> Path:
        """Where the historian writes."""
        return Path(self.data_dir) / "history"

    @property
    def state_dir(self) -> Path:
        """Where journal and alarm state live."""
        return Path(self.data_dir) / "state"

    @property
    def security_dir(self) -> Path:
        """Where the site's users and keys live, the same for every run."""
        return Path(self.data_dir).parent / "security"

    def to_json(self) -> str:
        """For a part's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Back from :meth:`to_json`."""
        return cls(**json.loads(text))


class Heartbeat:
    """A part's sign of life: process and monotonic time of its last beat, in sixteen shared bytes."""

    _CELL = struct.Struct("<qq")

    def __init__(self, run_dir: Path, part: str) -> None:
        path = run_dir / f"beat-{part}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self._CELL.size)
            self._cell = mmap.mmap(descriptor, self._CELL.size)
        finally:
            os.close(descriptor)

    def beat(self, mono_ns: int) -> None:
        """Note that the part lives."""
        self._CELL.pack_into(self._cell, 0, mono_ns, os.getpid())

    def last_mono_ns(self) -> int:
        """When it last beat; 0 for never."""
        return int(self._CELL.unpack_from(self._cell, 0)[0])

    def pid(self) -> int:
        """Process that beat last; 0 for none."""
        return int(self._CELL.unpack_from(self._cell, 0)[1])


@dataclass(slots=True)
class PartContext:
    """Everything a part needs from outside.

    Attributes:
        name: of the part.
        site: the parsed configuration.
        tags: the site's tag table.
        store: the shared tag store.
        clock: the machine's clocks.
        bus: this part's door to the bus.
        run_dir: sockets and shared memory of this city, on tmpfs, gone after the run.
        options: what the person asked.
        stop_fd: readable once the part has been asked to stop.
        log: warnings reach the person's terminal.
    """

    name: str
    site: Site
    tags: TagTable
    store: TagStore
    clock: Clock
    bus: Bus
    run_dir: Path
    options: RunOptions
    stop_fd: int
    log: logging.Logger
    beat: Heartbeat

    def stopping(self) -> bool:
        """Whether the part has been asked to stop; then it leaves within a second."""
        return bool(_readable(self.stop_fd))

    def heartbeat(self) -> None:
        """Tell the supervisor that the main loop turns; at least once a second."""
        self.beat.beat(self.clock.mono_ns())

    @property
    def session(self) -> str:
        """The secret with which this part asks the core for changes; empty for a part that speaks only for people."""
        return credentials.read(self.run_dir, self.name)

    @property
    def history_dir(self) -> Path:
        """Where the historian writes."""
        return self.options.history_dir

    @property
    def state_dir(self) -> Path:
        """Where journal and alarm state live."""
        return self.options.state_dir


def _readable(descriptor: int) -> bool:
    return readable(descriptor, 0.0)
