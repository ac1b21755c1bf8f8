"""The run directory of a city: its sockets and shared memory, on tmpfs, with a lock that says who runs it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

KEEP_RUNS = 5
"""Runs of a simulated city whose history stays on disk; older ones are removed at the next start."""


class RunDirError(Exception):
    """The city cannot be started or found; the text is one line."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a running city says of itself."""

    pid: int
    site_root: str
    data_dir: str
    started_utc_ns: int
    started_mono_ns: int
    boot_id: str

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Of a running city.

        Raises:
            RunDirError: none runs there.
        """
        try:
            info = cls(**json.loads((run_dir / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise RunDirError("no running city found; start one with `gwanje up`") from None
        if not _locked(run_dir):
            raise RunDirError("no running city found (the last one did not stop cleanly); start one with `gwanje up`")
        return info

    def write(self, run_dir: Path) -> None:
        """Publish it."""
        (run_dir / "run.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


def _memory() -> Path:
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))


def default_run_dir(site_id: str) -> Path:
    """Where this user's city of this site runs."""
    return _memory() / f"gwanje-{os.getuid()}" / site_id


def claims_dir() -> Path:
    """Where all cities of this user on this machine claim the devices that they drive."""
    return _memory() / f"gwanje-{os.getuid()}-devices"


def _locked(run_dir: Path) -> bool:
    try:
        descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class RunDir:
    """The supervisor's hold on a run directory; what an earlier city left behind is removed first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            if path.stat().st_uid != os.getuid() or path.parent.stat().st_uid != os.getuid():
                raise RunDirError(f"{path} belongs to somebody else")
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirError(f"cannot use the run directory {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RunDirError(f"this city runs already ({path}); stop it first or give --run DIR") from None
        for entry in path.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def remove(self) -> None:
        """Take everything away."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        with contextlib.suppress(OSError):  # cities of other sites run there
            self.path.parent.rmdir()


def new_data_dir(base: Path, site_id: str, fresh: bool, utc_ns: int) -> Path:
    """Folder for this run's history, journal and state; ``latest`` beside it points there.

    Args:
        base: the data folder, ``var`` of the checkout unless chosen otherwise.
        site_id: of the site.
        fresh: a folder of its own for every run (a simulated city), or one that grows (a real one).
        utc_ns: start of the run.

    Raises:
        RunDirError: it cannot be made.
    """
    home = base / site_id
    moment = datetime.fromtimestamp(utc_ns / 1e9, UTC)
    path = home / (f"run-{moment:%Y%m%dT%H%M%S}-{os.getpid()}" if fresh else "live")
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "history").mkdir(exist_ok=True)
        (path / "state").mkdir(exist_ok=True)
        latest = home / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(path.name)
        before = sorted(one for one in home.glob("run-*") if one != path)  # this one, whatever the wall clock says
        for old in before[: max(0, len(before) + 1 - KEEP_RUNS)]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RunDirError(f"cannot write the data folder {path}: {error.strerror}") from error
    return path


def default_data_base(site_root: Path) -> Path:
    """``var`` beside the ``configs`` folder that the site lies in; of the working folder for a site elsewhere."""
    root = site_root.resolve()
    return root.parents[1] / "var" if root.parent.name == "configs" else Path.cwd() / "var"
