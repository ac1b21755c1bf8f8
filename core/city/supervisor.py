"""The supervisor: starts the parts of a city as processes, restarts what dies, stops all, leaves nothing behind."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np

from gwanje.core.authority import credentials
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import Heartbeat, RunOptions
from gwanje.core.city.part_ends import PartEnds
from gwanje.core.city.run_dir import RunDir, RunInfo
from gwanje.core.city.run_part import EXIT_CLEAR_FAILURE, run_child
from gwanje.core.city.site_image import VARIABLE
from gwanje.core.clock import NS_PER_S, boot_id
from gwanje.core.site.config import Site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

PRELOAD = (
    "asyncio", "numpy", "zmq", "msgpack", "gwanje.core.cli.main", "gwanje.core.city.run_part", "gwanje.core.main",
    "gwanje.core.city.site_image",
)  # fmt: skip
"""Imported once in the process that the parts are forked from: a part then starts in a tenth of the time, which is
what makes the first value quick on two cores and a restart quicker than two seconds."""

FIRST_NEEDED = ("sim", "core", "field", "control", "historian")
"""What the first value needs, and what must not miss it."""
ALONE_S = 1.5
"""How long these have the machine for themselves at the start: twenty parts that load at once on two cores would make
each other wait, and the devices' drivers with them."""

STOPPED, STARTING, RUNNING, RESTARTING = range(4)

FIRST_LOOK_NS = 20_000_000
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 5.0
HEALTHY_AFTER_S = 10.0
"""A part that lived this long starts its back-off anew."""
HANG_S = 5.0
"""A part whose heart has not beaten for so long is killed; parts promise one beat a second."""
START_GRACE_S = 20.0
"""Time to come up on a slow or busy machine: what a part loads and builds takes a second of an idle core, and twenty
parts start at once."""
PROVEN_S = 1
"""A part that was started anew has proven itself after this: what cannot run ends sooner."""
STOP_GRACE_S = 1.5
"""After SIGTERM; Ctrl-C promises that all is over within 2 s."""


@dataclass(slots=True)
class Child:
    """One part as a process."""

    name: str
    beat: Heartbeat
    process: ForkServerProcess | None = None
    started_mono_ns: int = 0
    restarts: int = 0
    backoff_s: float = BACKOFF_FIRST_S
    restart_at_mono_ns: int = 0
    cpu_ticks: int = 0
    cpu_pct: float = 0.0
    said: str = ""
    hung: bool = False

    def state(self) -> int:
        """One of the state numbers that the tag carries."""
        if self.process is None:
            return RESTARTING if self.restarts else STOPPED
        return RUNNING if self.beat.last_mono_ns() >= self.started_mono_ns else STARTING


def prepare_processes(site_root: Path) -> ForkServerContext:
    """Start the process that parts are forked from, if it does not run yet; it loads while the caller goes on.

    Args:
        site_root: the site that it reads too; see :mod:`gwanje.core.city.site_image`.
    """
    os.environ[VARIABLE] = str(site_root.resolve())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    multiprocessing.forkserver.ensure_running()
    return context


class Supervisor:
    """Keeps one city running.

    Args:
        site: the configuration.
        options: handed to every part.
        run: the locked run directory; removed at the end.
        bus: on which it tells of parts that died, and publishes its tags.
        parts: which parts to run, in starting order.
        log: warnings for the person.
    """

    def __init__(
        self, site: Site, options: RunOptions, run: RunDir, bus: Bus, parts: tuple[str, ...], log: logging.Logger
    ) -> None:
        clock = bus.clock
        self.site, self.options, self.run, self.clock, self.log = site, options, run, clock, log
        self._publisher = bus.publisher()
        self.store = TagStore.create(run.path / "tags", site.tags)
        bus.pass_scans_through(self.store.outgoing)
        self._writer = self.store.writer("supervisor")
        self.started_mono_ns = clock.mono_ns()
        RunInfo(
            os.getpid(), str(site.root), options.data_dir, clock.utc_ns(), self.started_mono_ns, boot_id()
        ).write(run.path)
        credentials.write(run.path, parts)
        self.children = {name: Child(name, Heartbeat(run.path, name)) for name in parts}
        self._ends = PartEnds(run.path)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.stop_asked = False
        self._ids = site.tags.by_owner("supervisor")
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._measured_mono_ns = 0
        self._own_ticks = 0
        self._processes = prepare_processes(site.root)
        self._site_sha256 = site.sha256

    def take_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP stop the city."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

        def ask(_number: int, _frame: object) -> None:
            self.stop_asked = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, ask)

    def start(self) -> None:
        """Start the parts that the first value needs; the others follow it, or a short time, whatever comes first."""
        later = self.clock.mono_ns() + int(ALONE_S * NS_PER_S)
        for child in self.children.values():
            if child.name in FIRST_NEEDED:
                self._spawn(child)
            else:
                child.restart_at_mono_ns = later

    def _start_rest(self) -> None:
        """Whatever has not been started yet begins now."""
        for child in self.children.values():
            if child.process is None and not child.restarts:
                child.restart_at_mono_ns = min(child.restart_at_mono_ns, self.clock.mono_ns())

    def _spawn(self, child: Child) -> None:
        child.started_mono_ns = self.clock.mono_ns()
        child.cpu_ticks, child.hung = 0, False
        process = self._processes.Process(
            target=run_child, name=child.name,
            args=(child.name, self.site.root, self._site_sha256, self.run.path, self.options),
        )  # fmt: skip
        try:
            process.start()
        except OSError as error:
            self.log.warning("%s cannot be started: %s: tried again", child.name, error.strerror or error)
            self._restart_later(child, child.started_mono_ns)
            return
        child.process = process

    def run_until(
        self, deadline_mono_ns: int | None, each_second: Callable[[], None], at_first: Callable[[], bool]
    ) -> None:
        """Keep the parts alive until the deadline or a signal.

        Args:
            deadline_mono_ns: when to come back; None only at a signal.
            each_second: called once a second.
            at_first: called every 20 ms until it says that it has seen enough.
        """
        next_second = self.started_mono_ns + NS_PER_S
        watching = True
        while not self.stop_asked and (deadline_mono_ns is None or self.clock.mono_ns() < deadline_mono_ns):
            self._care()
            if watching and at_first():
                watching = False
                self._start_rest()
            now = self.clock.mono_ns()
            if now >= next_second:
                self._publish(now)
                each_second()
                next_second += -(-(now - next_second + 1) // NS_PER_S) * NS_PER_S
            wake = min([next_second, *([deadline_mono_ns] if deadline_mono_ns else []), *self._restart_times()])
            left_ns = wake - self.clock.mono_ns()
            self._wait_ns(min(left_ns, FIRST_LOOK_NS) if watching else left_ns)

    def _restart_times(self) -> list[int]:
        return [child.restart_at_mono_ns for child in self.children.values() if child.process is None]

    def _wait_ns(self, left_ns: int) -> None:
        """Wait for a signal, a part's death or the time."""
        alive = [child.process.sentinel for child in self.children.values() if child.process is not None]
        ready = multiprocessing.connection.wait([self._wake_read, *alive], max(0.0, left_ns / NS_PER_S))
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)

    def _care(self) -> None:
        """Note the dead, kill the hanging, restart whose time has come."""
        now = self.clock.mono_ns()
        for child in self.children.values():
            if child.process is None:
                if now >= child.restart_at_mono_ns:
                    self._spawn(child)
                continue
            code = child.process.exitcode
            if code is not None:
                self._note_death(child, code, now)
            elif hangs(child.started_mono_ns, child.beat.last_mono_ns(), now):
                self.log.warning("%s does not answer for %g s: killed, starts anew", child.name, HANG_S)
                child.hung = True
                child.process.kill()

    def _note_death(self, child: Child, code: int, now: int) -> None:
        if now - child.started_mono_ns > HEALTHY_AFTER_S * NS_PER_S:
            child.backoff_s = BACKOFF_FIRST_S
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        said = f"{child.name} {how}"
        if code != EXIT_CLEAR_FAILURE and said != child.said:
            self.log.warning("%s: starts anew", said)
        child.said = said if now - child.started_mono_ns < HEALTHY_AFTER_S * NS_PER_S else ""
        child.process = None
        try:
            self._ends.add(child.name, code, hung=child.hung, restarts=child.restarts + 1, utc_ns=self.clock.utc_ns())
        except OSError as error:
            self.log.warning("how %s ended cannot be kept for the journal: %s", child.name, error)
        self._publisher.event(
            Event(
                kind="system",
                source=f"part_{child.name}",
                class_name="part_died",
                utc_ns=self.clock.utc_ns(),
                mono_ns=now,
                text_ko=f"{child.name} 프로세스 종료됨 ({how}): 다시 시작",
                text_en=f"part {child.name} {how}: starts anew",
                data={"code": code, "restarts": child.restarts + 1},
            )
        )
        self._restart_later(child, now)

    def _restart_later(self, child: Child, now: int) -> None:
        child.restarts += 1
        child.restart_at_mono_ns = now + int(child.backoff_s * NS_PER_S)
        child.backoff_s = min(BACKOFF_MAX_S, child.backoff_s * 2)

    def _publish(self, now: int) -> None:
        """State, restarts and CPU of every part into the tag store."""
        elapsed_s = (now - self._measured_mono_ns) / NS_PER_S
        values = {}
        total = 0.0
        for child in self.children.values():
            ticks = _cpu_ticks(child.process.pid) if child.process and child.process.pid else 0
            child.cpu_pct = max(0.0, 100 * (ticks - child.cpu_ticks) / self._ticks_per_s / elapsed_s)
            child.cpu_ticks = ticks
            total += child.cpu_pct
            values[f"system.part_{child.name}.state"] = float(child.state())
            values[f"system.part_{child.name}.restarts"] = float(child.restarts)
            values[f"system.part_{child.name}.cpu_pct"] = child.cpu_pct
        own = _cpu_ticks(os.getpid())
        total += 100 * (own - self._own_ticks) / self._ticks_per_s / elapsed_s
        self._own_ticks = own
        values["system.part_city.state"] = float(RUNNING)
        values["system.part_city.restarts"] = float(sum(child.restarts for child in self.children.values()))
        values["system.part_city.cpu_pct"] = total
        self._measured_mono_ns = now
        ids = np.array(sorted(self.site.tags.index(name) for name in values), np.int32)
        columns = [values[self.site.tags.by_id(int(one)).name] for one in ids]
        k = len(ids)
        times = np.full(k, self.clock.utc_ns(), np.int64)
        quality = np.full(k, Quality.GOOD, np.uint16)
        self._writer.write(ids, np.array(columns), quality, times, now)
        self._publisher.scan(ids, np.array(columns), quality, times)

    def not_running(self) -> list[str]:
        """Parts that ended at least once and do not run again, or not yet for a second.

        One that is still starting for the first time is well.
        """
        proven = self.clock.mono_ns() - PROVEN_S * NS_PER_S
        return [
            child.name
            for child in self.children.values()
            if child.restarts and (child.state() != RUNNING or child.started_mono_ns > proven)
        ]

    def stop(self) -> None:
        """Stop every part: ask, wait, kill. Afterwards no process of the city is left."""
        running = [child.process for child in self.children.values() if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self.clock.mono_ns() + int(STOP_GRACE_S * NS_PER_S)
        for process in running:
            process.join(max(0.0, (deadline - self.clock.mono_ns()) / NS_PER_S))
            if process.exitcode is None:
                self.log.warning("%s did not stop within %g s: killed", process.name, STOP_GRACE_S)
                process.kill()
        for process in running:
            process.join()

    def clean(self) -> None:
        """Remove the run directory with its sockets and shared memory."""
        self._writer.close()
        self.run.remove()


def hangs(started_mono_ns: int, last_beat_mono_ns: int, now_mono_ns: int) -> bool:
    """Whether a part has been silent for too long; while it comes up it may be."""
    up_ns = now_mono_ns - started_mono_ns
    limit_s = START_GRACE_S if up_ns < START_GRACE_S * NS_PER_S else HANG_S
    return now_mono_ns - max(started_mono_ns, last_beat_mono_ns) > limit_s * NS_PER_S


def _cpu_ticks(pid: int) -> int:
    """User and system time of a process with all its threads, in clock ticks; 0 when it is gone."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = content.rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
