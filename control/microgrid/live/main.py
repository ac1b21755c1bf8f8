"""The part ``microgrid``: guard, laws, supervisor and modes of the city, live, every 10 ms.

The main thread is the loop. It sleeps until absolute deadlines of the monotonic clock, counts how late it comes and
what it loses, and does nothing else but :class:`gwanje.control.microgrid.live.loop.LiveLoop`. Four more threads
publish, keep the lease, take requests and take drafts of tuning; they share the interpreter with it, so they are small,
and run under the same scheduling, a little below: who holds the interpreter must not wait for a processor.

When the part ends its lease is not released but runs out within 5 s: its successor takes it up again, finds the mode in
breaker and bus, and goes on from what devices do. Until then set-points are held, then revert; what forms the grid goes
on forming it, and breakers stay.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable

from gwanje.control.command_service import CommandThread
from gwanje.control.lease import LeaseKeeper, LeaseThread
from gwanje.control.loop import allowed_processors
from gwanje.control.main import read_config
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.live.binding import LEASE, OWNER, bind
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.control.microgrid.live.requests import FILE as CHOSEN_FILE
from gwanje.control.microgrid.live.requests import Requests, usual
from gwanje.control.microgrid.live.shed_file import ShedFile
from gwanje.control.microgrid.live.shell import Shell, ShellThread
from gwanje.control.microgrid.live.ticker import Ticker
from gwanje.control.microgrid.live.tuned import ControllerHand
from gwanje.control.microgrid.settings import read_settings
from gwanje.control.tuning.change_set import in_force
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.owner import CONTROL, MICROGRID
from gwanje.control.tuning.part import on_watch_elsewhere, tuning_file
from gwanje.control.tuning.service import Journal, TuningService
from gwanje.control.tuning.taken_up import taken_up
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.requests import Refused
from gwanje.core.state_file import StateFile
from gwanje.core.tags.store import StoreError

FIFO_PRIORITY = 70
"""Below the compiled loop's 80, which answers the import."""
HELPERS_BELOW = 10
SWITCH_S = 0.0005
"""How long another thread may keep the interpreter when the loop wants it."""
LOOK_EVERY = 10
"""Periods per look at the stop signal, the other threads and the heart."""
SHED_FILE = "microgrid-shed.json"
SHED_BYTES_MAX = 16_384


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: the configuration is wrong or another process writes the tags.
    """
    sys.setswitchinterval(SWITCH_S)
    try:
        file = read_settings(ctx.site.root)
        state = tuning_file(ctx, MICROGRID)
        taken = taken_up(state, file, ctx.clock)
        settings = in_force(taken.book, file)[0]
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
    journal = Journal(lease_bus, lambda: ctx.session)
    hand, elsewhere = ControllerHand(loop, ctx.tags), on_watch_elsewhere(ctx, CONTROL)
    desk = Desk(file, taken, hand, state, ctx.clock, journal.record, elsewhere)

    def carry_out(command: Command) -> Refused | None:
        return (desk if command.point in MICROGRID.points else requests).carry_out(command)

    office = Office(
        OWNER, owner_secret(ctx.run_dir), ctx.tags, LeaseCoverage(ctx.run_dir, ctx.tags.n), ctx.clock,
        carry_out, read_only=ctx.site.read_only,
    )  # fmt: skip
    commands = CommandThread(lease_bus, owner_service(OWNER), office.answer)
    service = TuningService(desk, lease_bus, journal.record, ctx.clock)
    tuning = CommandThread(lease_bus, MICROGRID.service, service.answer, service.pay)
    ticker = Ticker(ctx.clock, loop, settings.timing.guard_s)
    shell = Shell(ctx, loop, ticker, keeper, refused, shed, requests.unread, desk)
    shell_thread = ShellThread(shell, ctx.clock)
    lease.start()
    commands.start()
    tuning.start()
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
                (keeper.failure, "lease"), (commands.failure, "requests"), (tuning.failure, "tuning"),
                (shell_thread.failure, "publishing"),
            ):  # fmt: skip
                if failure is not None:
                    raise PartError(f"the thread of {what} has ended: {failure!r}") from failure
    finally:
        loop.withdraw(ctx.clock.mono_ns(), ctx.clock.utc_ns())
        for one in (shell_thread, tuning, commands, lease):
            one.close(0.5)
        writer.close()


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
