"""Processes that a measurement needs beside itself: pinned, told what to do by messages, gone when it ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_S = 30.0
"""A process has imported its libraries by then, on a machine that does much else."""
ASK_S = 120.0
"""Longest task of a child."""
STOP_S = 5.0
_PR_SET_PDEATHSIG = 1
_PREFIX = "gw-bench-"

Body = Callable[..., None]
"""``body(door, *arguments)``: sends one message when it is ready, then answers what it is asked."""


class BenchError(Exception):
    """A measurement could not be made; the text is one line."""


class Child:
    """One process of a measurement.

    Args:
        body: module-level function that runs in it.
        arguments: handed to the body after its door.
        processor: it stays on this one; ``None`` leaves it to the system.

    Raises:
        BenchError: it did not come up.
    """

    def __init__(self, body: Body, *arguments: Any, processor: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._door, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, processor, body, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.hello = self.answer(START_S)
        except BenchError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def tell(self, message: Any) -> None:
        """Send a message without waiting for its answer."""
        try:
            self._door.send(message)
        except OSError as error:
            raise BenchError(f"a process of the measurement is gone: {error}") from None

    def answer(self, timeout_s: float = ASK_S) -> Any:
        """The next answer.

        Raises:
            BenchError: it failed, died, or did not answer in time.
        """
        try:
            if not self._door.poll(timeout_s):
                raise BenchError(f"a process of the measurement did not answer within {timeout_s:g} s")
            kind, content = self._door.recv()
        except (EOFError, OSError):
            raise BenchError("a process of the measurement died") from None
        if kind == "failed":
            raise BenchError(str(content))
        return content

    def ask(self, message: Any, timeout_s: float = ASK_S) -> Any:
        """Send a message and wait for its answer."""
        self.tell(message)
        return self.answer(timeout_s)

    def close(self) -> None:
        """Ask it to leave; make it leave."""
        self._door.close()  # its next receive ends it
        self._process.join(STOP_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


class Door:
    """A child's side: what it is told, and how it answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def answer(self, content: Any = None) -> None:
        """Answer what was asked last; the first answer says that the child is ready."""
        self._connection.send(("done", content))

    def asked(self, timeout_s: float) -> bool:
        """Whether something was asked."""
        return self._connection.poll(timeout_s)

    def question(self) -> Any:
        """What was asked; waits for it.

        Raises:
            EOFError: the maker has enough.
        """
        return self._connection.recv()

    def questions(self) -> Iterator[Any]:
        """What is asked, until the maker has enough."""
        with suppress(EOFError, OSError):
            while True:
                yield self._connection.recv()


def die_with_maker() -> None:
    """Have the kernel end this process when its maker is gone, in whatever way; first thing in a new process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _run(connection: Connection, processor: int | None, body: Body, arguments: Sequence[Any]) -> None:
    die_with_maker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the maker, and that ends this
    if processor is not None:
        os.sched_setaffinity(0, {processor})
    try:
        body(Door(connection), *arguments)
    except (EOFError, BrokenPipeError):
        return  # the maker has enough
    except Exception as error:  # noqa: BLE001 - told to the maker, who raises it
        with suppress(OSError):
            connection.send(("failed", f"{type(error).__name__}: {error}"))


def two_processors() -> tuple[int | None, int | None]:
    """The first two processors that this process may use; nothing is pinned where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


@contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Keep the calling thread on one processor for a while."""
    before = os.sched_getaffinity(0)
    if processor is not None:
        os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder in memory with a path short enough for sockets, as a run directory is.

    What a measurement left that was killed is removed first: nothing else would give its memory back.
    """
    where = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    for left in where.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=where))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
