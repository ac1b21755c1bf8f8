"""The small file that lets a killed simulator go on: written whole beside the old one, then renamed over it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gwanje.core.clock import boot_id

VERSION = 1
GAP_S_MAX = 60.0
"""A longer silence is another run, not a restart: begin anew."""


class StateFile:
    """State of a simulated city in its run directory.

    Args:
        path: of the file.
        run: what identifies the run (seed, start, speed); the state of another run is not taken.
    """

    def __init__(self, path: Path, run: Mapping[str, float]) -> None:
        self._path = path
        self._new = path.with_suffix(".new")
        self._run = dict(run)
        self._boot = boot_id()

    def write(self, state: Mapping[str, Any], mono_ns: int) -> None:
        """Keep the state of this moment.

        Raises:
            OSError: it cannot be written.
        """
        document = {"version": VERSION, "boot": self._boot, "run": self._run, "mono_ns": mono_ns, "state": state}
        self._new.write_text(json.dumps(document), encoding="ascii")
        os.replace(self._new, self._path)

    def read(self, mono_ns: int) -> tuple[dict[str, Any], float] | None:
        """State and seconds since it was written; None when there is none of this run."""
        try:
            document = json.loads(self._path.read_text(encoding="ascii"))
            same = (document["version"], document["boot"], document["run"]) == (VERSION, self._boot, self._run)
            gap_s = (mono_ns - document["mono_ns"]) * 1e-9
            state = document["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (state, gap_s) if same and isinstance(state, dict) and 0.0 <= gap_s <= GAP_S_MAX else None

    def remove(self) -> None:
        """Forget it: the run has ended in order."""
        self._path.unlink(missing_ok=True)
