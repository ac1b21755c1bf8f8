"""Many Modbus connections polled by one thread without the GIL."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

TCP: int
RTU: int

OK: int
NO_ANSWER: int
EXCEPTION: int
INVALID: int
LOST: int
NO_CONNECTION: int
EXPIRED: int
FORBIDDEN: int

REASONS: tuple[str, ...]
"""Why an answer is invalid, by code."""

Shot = tuple[int, int, int, int, bytes]
"""(number, status, code, round trip in ns, registers as big-endian bytes)."""

class PollerFull(Exception):
    """More connections, blocks or requests than the poller was made for."""

def judge(
    framing: int, data: bytes, transaction: int, unit: int, function: int, address: int, count: int,
    waiting: bool = True,
) -> tuple[int, int, int, bytes]:
    """(status, code, used bytes, registers) of the first frame of a stream, as the poller judges it; for tests."""

class Poller:
    """One thread, many connections; see the module's source."""

    words: npt.NDArray[np.uint16]
    """(blocks, 125): the registers read last, a row for each block."""

    def __init__(
        self, n_conns: int, n_blocks: int, n_shots: int = 256, *, read_only: bool, connects_per_s: float = 200.0,
        fifo_priority: int = 0,
    ) -> None: ...
    def start(self) -> None:
        """Begin to poll."""
    def stop(self) -> None:
        """End the thread and close every connection."""
    def fileno(self) -> int:
        """Becomes readable when there is something to take."""
    def add_conn(
        self, address: str, port: int, timeout_ns: int, *, framing: int = 0, gap_ns: int = 0, shared: bool = False
    ) -> int:
        """A connection, closed as yet.

        Raises:
            ValueError: the address is not numeric.
            PollerFull: no room.
        """
    def remove_conn(self, i: int) -> None:
        """Drop a connection with its blocks."""
    def open(self, i: int) -> None:
        """Connect; what came of it is told by :meth:`take`."""
    def close(self, i: int) -> None:
        """Drop a connection; what waits on it ends as lost, its polls rest."""
    def add_block(
        self, conn: int, unit: int, address: int, count: int, period_ns: int, first_ns: int, *, function: int = 3
    ) -> int:
        """Poll registers; gives the block, its row in ``words``."""
    def remove_block(self, index: int) -> None:
        """Poll it no more; results not yet taken are gone."""
    def read(self, conn: int, unit: int, address: int, count: int) -> int:
        """Ask for registers once, before any poll; gives the request's number.

        Raises:
            ConnectionError: not connected.
        """
    def write(
        self, conn: int, unit: int, address: int, words: Iterable[int], *, expires_ns: int = 0, back_address: int = 0,
        back_count: int = 0,
    ) -> int:
        """Write registers once, before any poll, and read back; gives the request's number.

        Raises:
            PermissionError: the poller is read only.
            ConnectionError: not connected.
        """
    def cancel(self, index: int) -> None:
        """Nobody waits for a request any more. What has not left yet never leaves."""
    def take(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], list[Shot], list[tuple[int, int, int]]]:
        """What has come since the last call.

        Returns:
            (7, k) block, status, code, arrival, round trip and lateness in ns, turns skipped; (k, 125) their registers;
            requests that ended; connections that came or went as (connection, status, code).
        """
    def state(self, i: int) -> str:
        """Of a connection: ``closed``, ``waiting``, ``connecting`` or ``open``."""
    def counts(self, i: int) -> dict[str, int]:
        """Of a connection, ever."""
    def skipped(self, index: int) -> int:
        """Turns of a block left out because an answer took too long."""
    def stats(self) -> dict[str, int | list[int]]:
        """Processor time of the thread, reads, writes, exceptions by code."""
    def late_us(self, share: float, *, fast: bool = True) -> float:
        """Quantile of the lateness of polls; NaN before the first."""
    def forget_lateness(self) -> None:
        """Begin the histograms anew."""
