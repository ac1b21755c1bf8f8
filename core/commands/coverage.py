"""Which points a lease covers, for every driver to see: one time per tag in shared memory.

The tag ``system.lease.<name>_until_s`` tells people how long a lease is valid. Before a driver writes a set-point it
asks here whether a valid lease covers *this* point: a point that a person has taken out, or that a danger tag reaches,
is not covered from the same moment on. The first word is the read-only gate: while it is closed, and until a core has
opened it, every point is barred. The core alone writes; each is one aligned word: nobody reads half of one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = "lease-coverage"
BARRED = -1
"""Instead of a time: a danger tag reaches the point, or the gate is closed. Nobody writes it, and a manual set-point
that stands is ended."""
_OPEN = 1
"""First word while the gate is open; a file that nobody has written says closed."""


class LeaseCoverage:
    """Until when each tag's set-point may be written by a program, CLOCK_MONOTONIC ns; 0 for not at all.

    Args:
        run_dir: of the city, on tmpfs: nothing of it survives a restart of the machine.
        n_tags: length of the tag table.
    """

    def __init__(self, run_dir: Path, n_tags: int) -> None:
        descriptor = os.open(run_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = 8 * (1 + n_tags)
            if os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, size)  # whoever comes first makes it: nothing is covered
            words: npt.NDArray[np.int64] = np.frombuffer(mmap.mmap(descriptor, size), dtype=np.int64)
        finally:
            os.close(descriptor)
        self._gate, self._until = words[:1], words[1:]

    @property
    def gate_closed(self) -> bool:
        """Whether the core lets nothing be written to the site."""
        return int(self._gate[0]) != _OPEN

    def show_gate(self, closed: bool) -> None:
        """Close or open the gate for every driver."""
        self._gate[0] = 0 if closed else _OPEN

    def until_mono_ns(self, tag_id: int) -> int:
        """Until when a valid lease covers a tag; 0 when none does, :data:`BARRED` when nobody may write it."""
        return BARRED if self.gate_closed else int(self._until[tag_id])

    def replace(self, until_mono_ns: Mapping[int, int]) -> None:
        """Cover these tags and no others: what a core that starts knows."""
        for covered in np.flatnonzero(self._until).tolist():
            if covered not in until_mono_ns:
                self._until[covered] = 0
        for tag_id, until in until_mono_ns.items():
            self._until[tag_id] = until
