"""The live controller on a real tag store; the test plays devices and the compiled loop, and moves time."""

import logging
import math
import os
from pathlib import Path

from hearing import Ear

from gwanje.control.lease import LeaseKeeper
from gwanje.control.main import read_config
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.live.binding import bind
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.control.microgrid.live.main import SHED_FILE
from gwanje.control.microgrid.live.requests import usual
from gwanje.control.microgrid.live.shed_file import ShedFile
from gwanje.control.microgrid.live.shell import Shell
from gwanje.control.microgrid.live.ticker import Ticker
from gwanje.control.microgrid.live.tuned import ControllerHand
from gwanje.control.microgrid.settings import read_settings
from gwanje.control.tuning.change_set import in_force
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.owner import CONTROL, MICROGRID
from gwanje.control.tuning.part import on_watch_elsewhere, tuning_file
from gwanje.control.tuning.taken_up import taken_up
from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Granted, Released
from gwanje.core.site.config import load_site
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.ext.reference.tie_line import RUN

CHUNGBUK = Path(__file__).parents[4] / "configs" / "chungbuk"
S = 1_000_000_000
TICK = S // 100
USUAL = {
    "import_w": 4e5, "reactive_var": 0.0, "voltage_v": 22_900.0, "closed": 1.0, "soc": 0.5, "online": 1.0,
    "charge_w_max": 5e5, "discharge_w_max": 5e5, "load_w": 8e4, "generation_w": 2e4, "available_w": 2e4,
    "running": 0.0, "forming": 1.0, "discharge_w": 0.0,
}  # fmt: skip
SITE = load_site(CHUNGBUK)


class Grants:
    """A command path that grants all but what is withheld."""

    withheld: tuple[str, ...] = ()

    def lease(self, name, points, ttl_s, reason):
        return Granted(name, "id", tuple(one for one in points if one not in self.withheld), 1)

    def renew(self, name):
        return Granted(name, "id", (), 1)

    def release(self, name):
        return Released(name)


class Rig:
    """One live controller; what its process would lose is made anew by :meth:`restart`."""

    def __init__(self, folder):
        self.folder, self.clock = folder, VirtualClock()
        self.store = TagStore.create(folder / "tags", SITE.tags)
        self.writers = {owner: self.store.writer(owner) for owner in {tag.owner for tag in SITE.tags} - {"microgrid"}}
        self.world: dict[str, float] = {}
        self.leased, self.loop_mode, self.loop_w = True, RUN, 2e4
        self.live = None
        self.restart()
        for name in self.live.controller.reads:
            word = name.rsplit(".", 1)[-1]
            self.world[name] = 60.0 if word.startswith("frequency") else USUAL.get(word, 0.0)

    def restart(self, shed=None):
        if self.live is not None:
            self.live._writer.close()
        ctx = PartContext(
            "control", SITE, SITE.tags, None, self.clock, None, self.folder, RunOptions(), 0,
            logging.getLogger("test"), None,
        )  # fmt: skip
        file = read_settings(CHUNGBUK)
        settings = in_force(taken_up(tuning_file(ctx, MICROGRID), file, self.clock).book, file)[0]
        controller = MicrogridController(settings)
        self.binding = bind(SITE, read_config(ctx), controller)
        writer = self.store.writer("microgrid")
        self.live = LiveLoop(controller, self.binding, SITE.tags, self.store, writer, usual(settings), shed)

    @property
    def controller(self):
        return self.live.controller

    def write(self, name, value, quality=Quality.GOOD):
        tag = SITE.tags.get(name)
        self.writers[tag.owner].write_one(
            SITE.tags.index(name), value, int(quality), self.clock.utc_ns(), self.clock.mono_ns()
        )

    def play(self):
        """What drivers, core and loop write in a period."""
        for name, value in self.world.items():
            self.write(name, value)
        noise_w = 10.0 * (self.clock.mono_ns() // TICK % 2)
        self.write("grid.tie.import_w", self.world["grid.tie.import_w"] + noise_w)
        until_s = self.clock.mono_ns() / S + 5.0 if self.leased else 0.0
        self.write("system.lease.microgrid_until_s", until_s)
        if self.loop_mode >= 0:
            self.write("control.tie.mode", self.loop_mode)
            quality = Quality.GOOD if self.loop_mode >= RUN else Quality.UNCERTAIN | Quality.BLOCKED
            for name in ("control.tie.unserved_w", "control.tie.correction_w"):
                self.write(name, 0.0, quality)
            for k in (1, 2):
                self.write(f"control.ess{k}.discharge_setpoint_w", self.loop_w, quality)

    def go(self, seconds, each=lambda: None):
        for _ in range(round(seconds * 100)):
            self.clock.advance_ns(TICK)
            self.play()
            each()
            self.live.step(self.clock.mono_ns(), self.clock.utc_ns(), 0.01)

    def read(self, name):
        return self.store.read(SITE.tags.index(name), self.clock.mono_ns())

    def value(self, name):
        sample = self.read(name)
        return math.nan if sample.quality & Quality.BAD else sample.value

    def open_breaker(self):
        self.world["grid.breaker.closed"] = self.world["grid.tie.import_w"] = 0.0


class Part:
    """The shell with a real bus."""

    def __init__(self, rig):
        self.rig = rig
        self.bus = Bus(rig.folder, "microgrid", rig.clock, SITE.tags.n)
        self.stop_fd, self.stop_write = os.pipe()
        ctx = PartContext(
            "microgrid", SITE, SITE.tags, rig.store, rig.clock, self.bus, rig.folder, RunOptions(), self.stop_fd,
            logging.getLogger("test"), Heartbeat(rig.folder, "microgrid"),
        )  # fmt: skip
        self.keeper = LeaseKeeper(Grants(), "microgrid", rig.binding.lease_points, "test")
        self.ticker = Ticker(rig.clock, rig.live, 0.01)
        self.ear_bus = Bus(rig.folder, "hmi", rig.clock, SITE.tags.n)
        self.hear = Ear(self.ear_bus, self.bus.publisher(), ["scan", "event"])
        self.shed = ShedFile(StateFile(rig.folder / SHED_FILE, 10_000))
        state, file = tuning_file(ctx, MICROGRID), read_settings(CHUNGBUK)
        self.journal = []
        self.desk = Desk(
            file, taken_up(state, file, rig.clock), ControllerHand(rig.live, SITE.tags), state, rig.clock, self.record,
            on_watch_elsewhere(ctx, CONTROL),
        )  # fmt: skip
        self.shell = Shell(ctx, rig.live, self.ticker, self.keeper, {"SCHED_FIFO": "no"}, self.shed, "", self.desk)

    def record(self, entry):
        self.journal.append(dict(entry))
        return ""

    def go(self, seconds):
        for _ in range(round(seconds * 10)):
            self.rig.go(0.1)
            self.shell.turn()
        return self.hear.all()

    def close(self):
        self.hear.close()
        self.ear_bus.close()
        self.bus.close()
