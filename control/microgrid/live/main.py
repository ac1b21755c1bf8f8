"""The part ``microgrid``: guard, laws, supervisor and modes of the city, live, every 10 ms.

The main thread is the loop. It sleeps until absolute deadlines of the monotonic clock, counts how late it comes and
what it loses, and does nothing else but :class:`gwanje.control.microgrid.live.loop.LiveLoop`. Three more threads
publish, keep the lease and take requests; they share the interpreter with it, so they are small, and run under the same
scheduling, a little below: who holds the interpreter must not wait for a processor.

When the part ends its lease is not released but runs out within 5 s: its successor takes it up again, finds the mode in
breaker and bus, and goes on from what devices do. Until then set-points are held, then revert; what forms the grid goes
on forming it, and breakers stay.
"""

from __future__ import annotations

import errno
import gc
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Mapping

import numpy as np

from gwanje.control.command_service import CommandThread
from gwanje.control.lease import LeaseKeeper, LeaseThread
from gwanje.control.loop import LAW_TAG, LIMIT_TAG, allowed_processors
from gwanje.control.main import read_config
from gwanje.control.microgrid import degradations
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.live.binding import LEASE, OWNER, bind
from gwanje.control.microgrid.live.lateness import Lateness
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.control.microgrid.live.requests import FILE as CHOSEN_FILE
from gwanje.control.microgrid.live.requests import Requests, usual
from gwanje.control.microgrid.live.shed_file import ShedFile
from gwanje.control.microgrid.settings import read_settings
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Bus, Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import Clock
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.state_file import StateFile
from gwanje.core.tags.store import StoreError

FIFO_PRIORITY = 70
"""Below the compiled loop's 80, which answers the import."""
HELPERS_BELOW = 10
SWITCH_S = 0.0005
"""How long another thread may keep the interpreter when the loop wants it."""
SHELL_NS = 100_000_000
ALL_EVERY = 10
"""Shell turns per publication of all tags."""
COLLECT_EVERY = 100
"""Shell turns per collection of what the few objects of the running part leave behind."""
LOOK_EVERY = 10
"""Periods per look at the stop signal, the other threads and the heart."""
MINUTE_TURNS = 600
LOST_TOLD_EVERY_S = 60.0
SHED_FILE = "microgrid-shed.json"
SHED_BYTES_MAX = 16_384
FAST = (
    LAW_TAG, LIMIT_TAG, "microgrid.state.mode", "microgrid.state.frequency_hz", "microgrid.power.command_w",
    "microgrid.power.shed_w",
)  # fmt: skip
"""Tags that are published ten times a second beside the orders."""
TEXTS = {
    "lease_missing": (
        "마이크로그리드 제어 임대 없음: 지령하지 않음", "no lease for microgrid control: nothing is ordered",
    ),
    "orders_withheld": ("사람이 잡은 포인트는 지령하지 않음", "points that people hold are not ordered"),
    "loop_unseen": (
        "연계선 제어 루프가 보이지 않음: 독립 운전 시 ESS를 지령할 수 없음",
        "the tie-line loop is not seen: in an island the batteries cannot be commanded",
    ),
}  # fmt: skip


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: the configuration is wrong or another process writes the tags.
    """
    sys.setswitchinterval(SWITCH_S)
    try:
        settings = read_settings(ctx.site.root)
        offset_s = (ctx.clock.utc_ns() - ctx.clock.mono_ns()) * 1e-9
        controller = MicrogridController(settings, offset_s)
        binding = bind(ctx.site, read_config(ctx), controller)
        writer = ctx.store.writer(OWNER)
    except (OSError, ValueError, StoreError) as error:
        raise PartError(f"microgrid: {'; '.join(str(error).splitlines())}") from error
    shed = ShedFile(StateFile(ctx.run_dir / SHED_FILE, SHED_BYTES_MAX))
    loop = LiveLoop(controller, binding, ctx.tags, ctx.store, writer, usual(settings), shed.before)
    refused = _real_time(FIFO_PRIORITY - HELPERS_BELOW, pinned=False)  # inherited by the threads that are started now
    lease_bus = Bus(ctx.run_dir, OWNER, ctx.clock, ctx.tags.n)
    keeper = LeaseKeeper(CommandClient(lease_bus, ctx.session), LEASE, binding.lease_points, "microgrid control")
    lease = LeaseThread(keeper, lambda: True)
    requests = Requests(loop, settings, ctx.run_dir / CHOSEN_FILE, lambda: keeper.view)
    office = Office(
        OWNER, owner_secret(ctx.run_dir), ctx.tags, LeaseCoverage(ctx.run_dir, ctx.tags.n), ctx.clock,
        requests.carry_out, read_only=ctx.site.read_only,
    )  # fmt: skip
    commands = CommandThread(lease_bus, owner_service(OWNER), office.answer)
    ticker = Ticker(ctx.clock, loop, settings.timing.guard_s)
    shell = Shell(ctx, loop, ticker, keeper, refused, shed, requests.unread)
    shell_thread = ShellThread(shell, ctx.clock)
    lease.start()
    commands.start()
    shell_thread.start()
    refused |= _real_time(FIFO_PRIORITY, pinned=True)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while ticker.run(LOOK_EVERY):
            ctx.heartbeat()
            if ctx.stopping():
                break
            for failure, what in (
                (keeper.failure, "lease"), (commands.failure, "requests"), (shell_thread.failure, "publishing"),
            ):  # fmt: skip
                if failure is not None:
                    raise PartError(f"the thread of {what} has ended: {failure!r}") from failure
    finally:
        for one in (shell_thread, commands, lease):
            one.close(0.5)
        writer.close()


class Ticker:
    """Steps a loop on absolute deadlines and counts how that goes.

    Args:
        clock: of the machine.
        loop: to step.
        period_s: of it.

    Attributes:
        lateness: since the start.
        minute: since the shell last took it.
        step_max_us: longest period of work.
        step_us: of all of them together.
    """

    def __init__(self, clock: Clock, loop: LiveLoop, period_s: float) -> None:
        self._clock, self._loop = clock, loop
        self.period_ns = round(period_s * 1e9)
        self.lateness, self.minute = Lateness(), Lateness()
        self.step_max_us = self.step_us = 0.0
        self._deadline = clock.mono_ns() + self.period_ns

    def run(self, periods: int) -> bool:
        """Step so many times."""
        clock = self._clock
        for _ in range(periods):
            clock.wait_until_mono_ns(self._deadline)
            begin = clock.mono_ns()
            late = begin - self._deadline
            skipped = self.lateness.add(late, self.period_ns)
            self.minute.add(late, self.period_ns)
            self._loop.step(begin, clock.utc_ns(), (1 + skipped) * self.period_ns * 1e-9)
            took_us = (clock.mono_ns() - begin) * 1e-3
            self.step_us += took_us
            self.step_max_us = max(self.step_max_us, took_us)
            self._deadline += (1 + skipped) * self.period_ns
        return True

    def figures(self, minute_us: float, fifo: bool) -> dict[str, float]:
        """By tag."""
        late = self.lateness
        return {
            "microgrid.loop.ticks": float(late.ticks),
            "microgrid.loop.ticks_lost": float(late.lost),
            "microgrid.loop.late_p50_us": late.quantile_us(0.5),
            "microgrid.loop.late_p99_us": late.quantile_us(0.99),
            "microgrid.loop.late_p999_us": late.quantile_us(0.999),
            "microgrid.loop.late_max_us": late.max_us,
            "microgrid.loop.late_minute_us": minute_us,
            "microgrid.loop.step_max_us": self.step_max_us,
            "microgrid.loop.step_mean_us": self.step_us / late.ticks if late.ticks else math.nan,
            "microgrid.loop.fifo": float(fifo),
        }


class Shell:
    """What may take its time: publishes tags and lines, keeps what was shed, tells of what is missing.

    Args:
        ctx: of the part.
        loop: whose tags they are.
        ticker: that steps it.
        keeper: of the lease.
        refused: what the machine refused, in words.
        shed: keeps which loads are held off.
        not_chosen: why what operators chose earlier in this run does not hold now; empty when it does.
    """

    def __init__(
        self, ctx: PartContext, loop: LiveLoop, ticker: Ticker, keeper: LeaseKeeper, refused: Mapping[str, str],
        shed: ShedFile, not_chosen: str,
    ) -> None:  # fmt: skip
        self._ctx, self._loop, self._ticker, self._keeper, self._refused = ctx, loop, ticker, keeper, refused
        self._publisher: Publisher = ctx.bus.publisher()
        self._all_ids = ctx.tags.by_owner(OWNER)
        orders = [one.tag for one in loop.binding.commands]
        self._fast_ids = np.sort(ctx.tags.indices([*FAST, *orders]))
        self._state = degradations.DegradationState(begun=True)
        self._shed, self._shed_problem, self._not_chosen = shed, "", not_chosen
        self._minute_us = math.nan
        self._lost_told = (0, -LOST_TOLD_EVERY_S)
        self._turn = 0

    def turn(self) -> None:
        """One turn of a tenth of a second."""
        if self._turn == 0:
            self._tell_refusals()
            self._tell_unread()
        if self._turn % ALL_EVERY == 0:
            self._loop.shown = self._ticker.figures(self._minute_us, "SCHED_FIFO" not in self._refused)
        self._publish()
        self._tell_lines()
        self._watch()
        self._keep_shed()
        self._turn += 1
        if self._turn % MINUTE_TURNS == 0:
            self._minute_us, self._ticker.minute = self._ticker.minute.quantile_us(0.99), Lateness()
        if self._turn % COLLECT_EVERY == 0:
            gc.collect()

    def _publish(self) -> None:
        ids = self._all_ids if self._turn % ALL_EVERY == 0 else self._fast_ids
        snapshot = self._ctx.store.read_many(ids, self._ctx.clock.mono_ns())
        written = snapshot.received_mono_ns > 0
        self._publisher.scan(
            ids[written], snapshot.value[written], snapshot.quality[written], snapshot.source_utc_ns[written]
        )

    def _tell_lines(self) -> None:
        told = self._loop.told
        while told:
            line = told.popleft()
            self._tell(line.kind, line.ko, line.en)

    def _watch(self) -> None:
        view, points = self._keeper.view, self._loop.binding.lease_points
        withheld = [one for one in points if one not in view.points] if view.points else []
        now = {
            "active": False,  # nothing is to be waited for
            "lease_missing": not self._loop.leased,
            "orders_withheld": bool(withheld),
            "loop_unseen": self._loop.seen.mode < 0,
        }
        self._state, told = degradations.step(self._state, now, SHELL_NS * 1e-9)
        for name, begins in told:
            ko, en = TEXTS[name]
            if begins and name == "lease_missing" and view.reason_en:
                ko, en = f"{ko} ({view.reason_ko})", f"{en} ({view.reason_en})"
            elif begins and name == "orders_withheld":
                ko, en = f"{ko}: {', '.join(withheld)}", f"{en}: {', '.join(withheld)}"
            elif not begins:
                ko, en = f"해제: {ko}", f"over: {en}"
            self._tell(name if begins else f"{name}_ended", ko, en)
        self._tell_lost()

    def _tell_lost(self) -> None:
        lost, now_s = self._ticker.lateness.lost, self._ctx.clock.mono_ns() * 1e-9
        if lost > self._lost_told[0] and now_s >= self._lost_told[1] + LOST_TOLD_EVERY_S:
            missed = lost - self._lost_told[0]
            self._lost_told = (lost, now_s)
            self._tell(
                "ticks_lost", f"마이크로그리드 루프 주기 {missed}회 놓침",
                f"the microgrid's loop lost {missed} period{'' if missed == 1 else 's'}",
                {"lost": missed, "late_max_us": self._ticker.lateness.max_us},
            )  # fmt: skip

    def _keep_shed(self) -> None:
        """A successor must know which loads wait for their return, and which were opened by people."""
        if self._loop.controller.mode is None:
            return  # what an earlier process left is not taken up yet
        problem = self._shed.keep(self._loop.controller.supervisor.shed_loads)
        if problem and not self._shed_problem:
            self._tell(
                "shed_not_kept",
                f"차단한 부하 목록을 보관할 수 없음 ({problem}): 지금 재시작하면 복전 대상을 알 수 없음",
                f"which loads were shed cannot be kept ({problem}): a restart now would not know which to return",
            )  # fmt: skip
        self._shed_problem = problem

    def _tell_unread(self) -> None:
        if why := self._shed.unread:
            self._tell(
                "shed_unknown", f"이전에 차단한 부하 목록을 읽을 수 없음 ({why}): 열린 부하를 직접 확인하십시오",
                f"which loads were shed before cannot be read ({why}): see which are open, and close them by hand",
            )  # fmt: skip
        if why := self._not_chosen:
            self._tell(
                "choices_lost", f"운영자가 정한 한계를 이어받지 못함 ({why}): 사이트 기본값으로 운전, 다시 정하십시오",
                f"what operators had allowed could not be taken up ({why}): the site's own limits hold, set them again",
            )  # fmt: skip

    def _tell_refusals(self) -> None:
        for what, why in self._refused.items():
            self._ctx.log.log(logging.WARNING, "microgrid loop: %s refused (%s)", what, why)
            self._tell("realtime_refused", f"실시간 설정 거부: {what} ({why})", f"{what} was refused ({why})",
                       {"what": what, "why": why})  # fmt: skip

    def _tell(self, kind: str, ko: str, en: str, data: Mapping[str, float | int | str] | None = None) -> None:
        clock = self._ctx.clock
        self._publisher.event(
            Event("control", OWNER, f"microgrid_{kind}", clock.utc_ns(), clock.mono_ns(), ko, en, data=dict(data or {}))
        )


class ShellThread:
    """Turns a shell every 100 ms until it is closed."""

    def __init__(self, shell: Shell, clock: Clock) -> None:
        self._shell, self._clock = shell, clock
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="shell", daemon=True)
        self.failure: Exception | None = None
        """What ended it; the loop raises it: a part that tells nothing is started anew."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            deadline = self._clock.mono_ns() + SHELL_NS
            while self._clock.wait_until_mono_ns(deadline, self._wake_read):
                self._shell.turn()
                deadline = max(deadline + SHELL_NS, self._clock.mono_ns())
        except Exception as error:  # noqa: BLE001 - kept for the loop, which raises it
            self.failure = error

    def close(self, wait_s: float) -> None:
        """End."""
        os.write(self._wake_write, b"x")
        self._thread.join(wait_s)


def _real_time(priority: int, *, pinned: bool) -> dict[str, str]:
    """SCHED_FIFO and a processor for the calling thread; what was refused, in words."""
    refused: dict[str, str] = {}
    wishes: dict[str, Callable[[], None]] = {
        "SCHED_FIFO": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority)),
    }
    if pinned:
        wishes["processor"] = lambda: os.sched_setaffinity(0, {min(allowed_processors())})
    for what, wish in wishes.items():
        try:
            wish()
        except OSError as error:
            refused[what] = os.strerror(error.errno or errno.EPERM)
    return refused
