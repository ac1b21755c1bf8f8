"""A small file of JSON that a part keeps for its successor: read bounded, replaced in one step, never lost unread.

Whoever starts reads it once. A file that cannot be read, or is not what this program writes, stays where it is: what is
saved later replaces it only after it has been set aside under a name of its own, so that nothing is lost of what nobody
has read, and a kill in between leaves the old or the new file, never none.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASIDE_MAX = 100
"""Files set aside before somebody must look: each was a failure of its own."""


class StateFile:
    """See the module. Use it from one thread.

    Args:
        path: of the file.
        bytes_max: a file larger than this is not ours, and nothing larger is written.
        durable: whether a save waits for the disk: for what a power cut must not take. What lies in memory needs none.
    """

    def __init__(self, path: Path, bytes_max: int, *, durable: bool = False) -> None:
        self.path, self._bytes_max, self._durable = path, bytes_max, durable
        self._unread = False

    def load(self) -> dict[str, Any] | None:
        """The file's content; ``None`` when there is none.

        Raises:
            ValueError: it is damaged.
            OSError: it cannot be read.
        """
        self._unread = True
        try:
            with open(self.path, "rb") as file:
                content = file.read(self._bytes_max + 1)
        except FileNotFoundError:
            self._unread = False
            return None
        if len(content) > self._bytes_max:
            raise ValueError(f"{self.path.name} is damaged: longer than {self._bytes_max} bytes")
        try:
            state = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path.name} is damaged: {error}") from None
        if not isinstance(state, dict):
            raise ValueError(f"{self.path.name} is damaged: it holds no object")
        self._unread = False
        return state

    def doubt(self) -> None:
        """What :meth:`load` gave is not what it should be: set the file aside before the next save."""
        self._unread = True

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written, or the unread one cannot be set aside; the old one stands.
        """
        content = json.dumps(state, ensure_ascii=False).encode("utf-8")
        if len(content) > self._bytes_max:
            raise OSError(errno.EFBIG, f"{self.path.name} would be longer than {self._bytes_max} bytes")
        fresh = self.path.with_name(f"{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            file.write(content)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        if self._unread:
            self._set_aside()
        os.replace(fresh, self.path)
        self._unread = False
        if self._durable:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _set_aside(self) -> None:
        """Give the file a second name, which stays when the first is replaced."""
        for number in range(1, ASIDE_MAX + 1):
            try:
                os.link(self.path, self.path.with_name(f"{self.path.name}.damaged-{number}"), follow_symlinks=False)
            except FileExistsError:
                continue
            except FileNotFoundError:
                pass  # somebody has taken it away meanwhile: there is nothing to lose
            return
        raise OSError(errno.EEXIST, f"{ASIDE_MAX} damaged files lie beside {self.path.name}")
