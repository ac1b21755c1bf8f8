"""What of the part ``microgrid`` may take its time: publishing, telling people, tuning, keeping what must last."""

from __future__ import annotations

import gc
import logging
import math
import os
import threading
from collections.abc import Mapping

import numpy as np

from gwanje.control.lease import LeaseKeeper
from gwanje.control.loop import LAW_TAG, LIMIT_TAG
from gwanje.control.microgrid import degradations
from gwanje.control.microgrid.live.binding import OWNER
from gwanje.control.microgrid.live.lateness import Lateness
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.control.microgrid.live.shed_file import ShedFile
from gwanje.control.microgrid.live.ticker import Ticker
from gwanje.control.microgrid.live.tuned import Looker
from gwanje.control.microgrid.settings import Settings
from gwanje.control.tuning.desk import Desk
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext
from gwanje.core.clock import Clock

SHELL_NS = 100_000_000
ALL_EVERY = 10
"""Shell turns per publication of all tags."""
COLLECT_EVERY = 100
"""Shell turns per collection of what the few objects of the running part leave behind."""
MINUTE_TURNS = 600
LOST_TOLD_EVERY_S = 60.0
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
        desk: looks after changes of parameters.
    """

    def __init__(
        self, ctx: PartContext, loop: LiveLoop, ticker: Ticker, keeper: LeaseKeeper, refused: Mapping[str, str],
        shed: ShedFile, not_chosen: str, desk: Desk[Settings],
    ) -> None:  # fmt: skip
        self._ctx, self._loop, self._ticker, self._keeper, self._refused = ctx, loop, ticker, keeper, refused
        self._publisher: Publisher = ctx.bus.publisher()
        self._all_ids = ctx.tags.by_owner(OWNER)
        orders = [one.tag for one in loop.binding.commands]
        self._fast_ids = np.sort(ctx.tags.indices([*FAST, *orders]))
        self._state = degradations.DegradationState(begun=True)
        self._shed, self._shed_problem, self._not_chosen = shed, "", not_chosen
        self._desk, self._looker = desk, Looker(loop, ctx.tags, ctx.store)
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
        self._tune()
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

    def _tune(self) -> None:
        """Show the guard what the loop does, and tell what becomes of a change."""
        seen = self._looker.look(self._ctx.clock.mono_ns() * 1e-9, self._ticker.lateness.lost)
        for one in self._desk.turn(seen, SHELL_NS * 1e-9):
            self._tell(one.class_name, one.ko, one.en, one.data)

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
        self._looker.told(f"microgrid_{kind}")
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
