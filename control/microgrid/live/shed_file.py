"""Which loads wait for their return, kept in the run directory for the process that takes the part's place.

The successor closes again only what stands here and is found open: what people opened stays open. So the file must
never name a load that has come back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gwanje.core.state_file import StateFile


class ShedFile:
    """See the module. Use it from one thread at a time.

    Args:
        file: read now.

    Attributes:
        before: load → what it drew when it was held off, W; as an earlier process of this run left it.
        unread: why that is not known, or empty.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self.before: Mapping[str, float] = {}
        self.unread = ""
        try:
            self.before = _loads(file.load() or {})
        except OSError as error:
            self.unread = error.strerror or str(error)
        except ValueError as error:
            file.doubt()
            self.unread = str(error)
        self._kept: Mapping[str, float] | None = self.before if not self.unread else None

    def keep(self, shed: Mapping[str, float]) -> str:
        """Keep what is held off now; why that cannot be, or an empty text. Then the next call tries again."""
        if shed == self._kept:
            return ""
        try:
            self._file.save(shed)
        except OSError as error:
            return error.strerror or str(error)
        self._kept = dict(shed)
        return ""


def _loads(state: Mapping[str, object]) -> dict[str, float]:
    found = {}
    for name, power_w in state.items():
        if isinstance(power_w, bool) or not isinstance(power_w, int | float) or not math.isfinite(power_w):
            raise ValueError(f"{name} is not held off with a power: {power_w!r}")
        found[name] = float(power_w)
    return found
