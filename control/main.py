"""The control part: starts the compiled loop and does, in Python, what may take its time.

Every 100 ms it publishes the loop's fast tags and looks for degradations, every second all tags and the next set-point
of the import. The loop reads its inputs and the lease from the tag store and writes every tag of the owner ``control``
itself; whatever happens here, even the death of this thread, does not hold it up.

When the part ends its lease is not released but runs out within 5 s: a part that is restarted, by a person or after a
crash, takes its own lease up again and finds the batteries where it left them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np

from gwanje.control.command_service import FILE as CHOSEN_FILE
from gwanje.control.command_service import CommandThread, ControlCommands
from gwanje.control.lease import LeaseKeeper, LeaseThread
from gwanje.control.loop import allowed_processors, build_loop, processors, refusals
from gwanje.control.microgrid import degradations
from gwanje.control.microgrid.layers import tie_setpoint
from gwanje.control.microgrid.params import ControlConfig, check_tags, parse
from gwanje.control.plan_followed import PlanFollowed
from gwanje.control.tuning.change_set import in_force
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.guard import Seen
from gwanje.control.tuning.loop_hand import LoopHand
from gwanje.control.tuning.owner import CONTROL, MICROGRID
from gwanje.control.tuning.part import on_watch_elsewhere, tuning_file
from gwanje.control.tuning.service import Journal, TuningService
from gwanje.control.tuning.taken_up import taken_up
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Bus, Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.requests import Refused
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import StoreError
from gwanje.ext.control_loop import FAST, ControlLoop
from gwanje.ext.reference.tie_line import HOLD, RUN, WAIT

SHELL_NS = 100_000_000
SUPERVISE_EVERY = 10
"""Shell turns per step of the set-point layer."""
LOST_TOLD_EVERY_S = 60.0
"""A machine that loses ticks all the time gets one line a minute."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: the configuration is wrong or another process writes the tags.
    """
    config = read_config(ctx)
    try:
        writer = ctx.store.writer("control")  # holds the owner's place; the loop writes through the store's view
    except StoreError as error:
        raise PartError(str(error)) from error
    state = tuning_file(ctx, CONTROL)
    taken = taken_up(state, config, ctx.clock)
    loop = build_loop(in_force(taken.book, config)[0], ctx.site.rating_w, ctx.tags, ctx.store.view)
    loop.start(
        config.loop.fifo_priority, processors(config.loop.threads, allowed_processors()), config.loop.lock_memory
    )
    lease_bus = Bus(ctx.run_dir, "control", ctx.clock, ctx.tags.n)
    keeper = LeaseKeeper(
        CommandClient(lease_bus, ctx.session),
        config.tie_line.lease,
        [one.setpoint_tag for one in config.battery],
        "tie-line control",
    )
    lease = LeaseThread(keeper, lambda: loop.mode != WAIT or loop.relaying)
    lease.start()
    journal = Journal(lease_bus, lambda: ctx.session)
    hand, elsewhere = LoopHand(loop, ctx.site.rating_w), on_watch_elsewhere(ctx, MICROGRID)
    desk = Desk(config, taken, hand, state, ctx.clock, journal.record, elsewhere)
    shell = Shell(ctx, desk, loop, keeper)
    office = Office(
        "control", owner_secret(ctx.run_dir), ctx.tags, LeaseCoverage(ctx.run_dir, ctx.tags.n), ctx.clock,
        shell.carry_out, read_only=ctx.site.read_only,
    )  # fmt: skip
    service = TuningService(desk, lease_bus, journal.record, ctx.clock)
    threads = (
        CommandThread(lease_bus, owner_service("control"), office.answer),
        CommandThread(lease_bus, CONTROL.service, service.answer, service.pay),
    )
    for one in threads:
        one.start()
    try:
        shell.run(threads)
    finally:
        for one in threads:
            one.close(0.5)
        lease.close(0.5)
        loop.stop()
        writer.close()


def read_config(ctx: PartContext) -> ControlConfig:
    """The site's ``control.toml``.

    Raises:
        PartError: with every problem in one line.
    """
    try:
        config = parse(ctx.site.control)
        check_tags(config, ctx.tags)
    except ValueError as error:
        raise PartError("control.toml: " + "; ".join(str(error).splitlines())) from None
    return config


class Shell:
    """The slow layers of a running loop.

    Args:
        ctx: of the part.
        desk: knows the parameters in force.
        loop: started.
        keeper: of the loop's lease, stepped elsewhere.
    """

    def __init__(self, ctx: PartContext, desk: Desk[ControlConfig], loop: ControlLoop, keeper: LeaseKeeper) -> None:
        self._ctx = ctx
        self._desk = desk
        config = desk.config
        self._loop = loop
        self._keeper = keeper
        self._publisher: Publisher = ctx.bus.publisher()
        self._setpoint = tie_setpoint.SetpointState()
        file = ctx.run_dir / CHOSEN_FILE
        self.commands = ControlCommands(config.setpoint, file, lambda: self._setpoint.setpoint_w)
        self._plan = PlanFollowed(ctx.tags, config.battery)
        self._plan_missing = False
        self._degradations = degradations.DegradationState()
        self._labels = _labels(ctx, config)
        self._all_ids = ctx.tags.by_owner("control")
        fast = [*FAST, *(one.setpoint_tag for one in config.battery)]
        self._fast_ids = np.sort(ctx.tags.indices(fast))
        self._unserved_id = ctx.tags.index("control.tie.unserved_w")
        self._error_id = ctx.tags.index("control.tie.error_w")
        self._degraded = 0
        self._turn = 0
        self._lost_told = (0, -LOST_TOLD_EVERY_S)
        loop.set_strategy(self.commands.chosen.shown(config.setpoint))

    def carry_out(self, command: Command) -> Refused | None:
        """Do what a command says, or say why not."""
        take = self._desk.carry_out if command.point in CONTROL.points else self.commands.carry_out
        return take(command)

    def run(self, threads: tuple[CommandThread, ...]) -> None:
        """Turn every 100 ms on absolute deadlines until asked to stop."""
        clock = self._ctx.clock
        deadline = clock.mono_ns() + SHELL_NS
        while clock.wait_until_mono_ns(deadline, self._ctx.stop_fd):
            for one in threads:
                if one.failure is not None:
                    raise PartError(f"a thread that takes requests has ended: {one.failure!r}") from one.failure
            self.turn()
            deadline = max(deadline + SHELL_NS, clock.mono_ns())

    def turn(self) -> None:
        """One turn of the shell."""
        self._ctx.heartbeat()
        if not self._loop.running:
            raise PartError("the control loop's thread has ended")
        if self._keeper.failure is not None:
            raise PartError(f"the lease's thread has ended: {self._keeper.failure!r}") from self._keeper.failure
        if self._turn == SUPERVISE_EVERY:
            self._tell_refusals()
        if self._turn % SUPERVISE_EVERY == 0 or math.isnan(self._setpoint.setpoint_w):
            self._supervise()
        self._loop.set_leased_batteries(self._keeper.bits())
        self._publish()
        self._watch()
        self._tune()
        self._turn += 1

    def _supervise(self) -> None:
        """Next set-point. The world of a simulated city may run faster than its clocks: energy moves in its time."""
        loop = self._loop
        config, chosen = self._desk.config, self.commands.chosen
        self.commands.params = config.setpoint
        params = chosen.applied(config.setpoint)
        usable, now_ns = loop.batteries_usable, self._ctx.clock.mono_ns()
        inputs = tie_setpoint.SetpointInputs(
            loop.import_w, loop.net_load_w + loop.correction_w, loop.socs, usable,
            *self._plan.read(self._ctx.store, now_ns, usable, params.plan_age_s),
        )  # fmt: skip
        self._plan_missing = params.strategy == "plan" and any(usable) and not inputs.planned
        dt_s = SHELL_NS * 1e-9 * SUPERVISE_EVERY * self._ctx.options.speed
        self._setpoint = tie_setpoint.step(self._setpoint, inputs, params, config.battery, dt_s)
        loop.set_setpoint(self._setpoint.setpoint_w)
        loop.set_strategy(chosen.shown(config.setpoint))

    def _publish(self) -> None:
        ids = self._all_ids if self._turn % SUPERVISE_EVERY == 0 else self._fast_ids
        snapshot = self._ctx.store.read_many(ids, self._ctx.clock.mono_ns())
        written = snapshot.received_mono_ns > 0
        self._publisher.scan(
            ids[written], snapshot.value[written], snapshot.quality[written], snapshot.source_utc_ns[written]
        )

    def _watch(self) -> None:
        loop = self._loop
        status = degradations.Status(
            mode=loop.mode,
            in_force=loop.in_force,
            stuck=loop.stuck,
            unserved_w=self._ctx.store.read(self._unserved_id).value,
            meters_live=loop.meters_live,
            batteries_usable=loop.batteries_usable,
            batteries_limited=loop.batteries_limited,
            plan_missing=self._plan_missing,
        )
        now = degradations.conditions(status, self._desk.config, self._ctx.site.rating_w)
        self._degradations, told = degradations.step(self._degradations, now, SHELL_NS * 1e-9)
        for name, begins in told:
            self._degraded += begins and name != "plan_missing"  # no change of parameters makes a planner die
            ko, en = degradations.describe(name, begins, self._labels)
            if name == "lease_missing" and begins and self._keeper.view.reason_en:
                ko, en = f"{ko} ({self._keeper.view.reason_ko})", f"{en} ({self._keeper.view.reason_en})"
            kind, _, subject = name.partition(":")
            self._tell(kind if begins else f"{kind}_ended", subject or "control", ko, en)
        self._tell_lost()

    def _tune(self) -> None:
        """Show the guard what the loop does, and tell what becomes of a change."""
        rating_w, store = self._ctx.site.rating_w, self._ctx.store
        error = store.read(self._error_id)
        unserved_w = store.read(self._unserved_id).value
        seen = Seen(
            math.nan if error.quality & Quality.BAD else 100.0 * error.value / rating_w,
            abs(unserved_w) > degradations.SATURATED_SHARE * rating_w,
            self._loop.lost,
            self._degraded,
            self._loop.mode in (RUN, HOLD),
        )
        for one in self._desk.turn(seen, SHELL_NS * 1e-9):
            self._tell(one.class_name, "control", one.ko, one.en, one.data)

    def _tell_lost(self) -> None:
        lost, now_s = self._loop.lost, self._ctx.clock.mono_ns() * 1e-9
        if lost > self._lost_told[0] and now_s >= self._lost_told[1] + LOST_TOLD_EVERY_S:
            missed = lost - self._lost_told[0]
            self._lost_told = (lost, now_s)
            self._tell(
                "ticks_lost", "control", f"제어 루프 주기 {missed}회 놓침",
                f"the control loop lost {missed} period{'' if missed == 1 else 's'}",
                {"lost": missed, "late_max_us": self._loop.late_max_us},
            )  # fmt: skip

    def _tell_refusals(self) -> None:
        for what, why in refusals(self._loop).items():
            self._ctx.log.log(
                logging.WARNING if what == "SCHED_FIFO" else logging.INFO, "control loop: %s refused (%s)", what, why
            )
            self._tell(
                "realtime_refused", "control", f"실시간 설정 거부: {what} ({why})", f"{what} was refused ({why})",
                {"what": what, "why": why},
            )  # fmt: skip

    def _tell(
        self, class_name: str, source: str, ko: str, en: str, data: Mapping[str, float | int | str] | None = None
    ) -> None:
        clock = self._ctx.clock
        self._publisher.event(
            Event("control", source, class_name, clock.utc_ns(), clock.mono_ns(), ko, en, data=dict(data or {}))
        )


def _labels(ctx: PartContext, config: ControlConfig) -> dict[str, tuple[str, str]]:
    labels = {one.name: (one.label_ko or one.name, one.label_en or one.name) for one in config.battery}
    for meter in config.meter:
        tag = ctx.tags.get(meter.tag)
        labels[meter.tag] = (tag.description_ko or meter.tag, tag.description_en or meter.tag)
    return labels
