"""One city per device: a claim on an address, so that two cities on a machine never command the same device.

Two controllers on one battery fight, and each believes that the battery does not follow. A claim is a locked file that
the kernel lets go of when the process ends, in whatever way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from gwanje.io.field.errors import LinkError


class ClaimedElsewhereError(LinkError):
    """Another process drives the device."""


class Claim:
    """The claim on one address.

    Args:
        folder: shared by all cities of this user on this machine.
        address: ``host:port/unit``.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._path = folder / address.replace("/", "_")
        self._descriptor = -1

    def take(self) -> None:
        """Take it, or keep it.

        Raises:
            ClaimedElsewhereError: somebody else has it.
        """
        while self._descriptor < 0:
            self._try()

    def _try(self) -> None:
        """Lock the file; leaves without the claim when its last holder removed it meanwhile."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ClaimedElsewhereError(f"cannot be claimed: {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise ClaimedElsewhereError(f"another city on this machine drives it ({who}); it is left alone") from None
        if not self._is_file_of(descriptor):
            os.close(descriptor)
            return
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # a full disk: the lock counts, the number in it is for people
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def _is_file_of(self, descriptor: int) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of it and remove its file, and the folder with the last one."""
        if self._descriptor < 0:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1
        with contextlib.suppress(OSError):  # others hold claims there
            self._path.parent.rmdir()
