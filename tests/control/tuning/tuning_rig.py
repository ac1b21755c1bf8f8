"""A small site for tuning: one battery, one load, one PV, the compiled loop on a real store, time moved by the test.

The plant shares nothing with the city's: a first-order battery behind writes every 50 ms, values that are read every
50 ms and arrive 50 ms later, and losses that no meter shows.
"""

from collections import deque

import numpy as np

from gwanje.control.loop import build_loop
from gwanje.control.microgrid.params import parse
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.guard import Limits, Seen
from gwanje.control.tuning.hand import BUMP_SHARE_MAX
from gwanje.control.tuning.loop_hand import LoopHand
from gwanje.control.tuning.owner import CONTROL, FILE_BYTES_MAX
from gwanje.control.tuning.taken_up import taken_up
from gwanje.core.authority.principal import Role
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Command
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.ext.control_loop import FAST, SLOW
from gwanje.ext.reference.tie_line import HOLD, RUN

S = 1_000_000_000
RATING_W = 2.5e6
BUMP_W_MAX = BUMP_SHARE_MAX * RATING_W
CONTENT = {
    "tie_line": {"import_tag": "tie.import_w"},
    "battery": [
        {
            "name": "ess", "setpoint_tag": "control.ess.discharge_setpoint_w", "discharge_tag": "ess.discharge_w",
            "soc_tag": "ess.soc", "charge_w_max": 5e5, "discharge_w_max": 5e5, "ramp_w_per_s": 1e6, "energy_wh": 1e6,
        }
    ],
    "meter": [{"tag": "load.load_w"}, {"tag": "pv.generation_w", "role": "generation"}],
}  # fmt: skip
MEASURED = ("tie.import_w", "load.load_w", "pv.generation_w", "ess.discharge_w", "ess.soc")


def config():
    return parse(CONTENT)


def tags():
    names = (*FAST, "control.ess.discharge_setpoint_w", *SLOW)
    return TagTable.build([
        *(Tag(name, "", "field", stale_after_s=1.0) for name in MEASURED),
        *(Tag(name, "", "control") for name in names),
        Tag("system.lease.tie_line_until_s", "s", "core"),
    ])  # fmt: skip


def command(number, point="control.tuning.change_set", role=Role.ENGINEER, author="kim"):
    return Command("c1", point, float(number), "", author, role, "", "better", 1, 0, 5 * S)


class Rig:
    """The part's halves that tuning touches, and a plant around them."""

    def __init__(self, folder, seed=1):
        self.folder, self.random = folder, np.random.default_rng(seed)
        self.tags = tags()
        self.store = TagStore.create(folder / "tags", self.tags)
        self.writers = {owner: self.store.writer(owner) for owner in ("field", "core", "control")}
        self.clock = VirtualClock(mono_ns=100 * S)
        self.recorded, self.journal_fails, self.told, self.degradations = [], "", [], 0
        self.load_w, self.pv_w, self.discharge_w, self.soc, self.losses_w = 8e5, 5e5, 0.0, 0.5, 2e4
        self.written_w, self.arriving = 0.0, deque()
        self.lease_s = 5.0
        self.error_w, self.setpoints_w, self.ticks = [], [], 0
        self.start()

    def start(self):
        """The part (anew): reads its book, builds its loop."""
        state = StateFile(self.folder / CONTROL.file, FILE_BYTES_MAX)
        taken = taken_up(state, config(), self.clock)
        self.loop = build_loop(config(), RATING_W, self.tags, self.store.view)
        self.desk = Desk(config(), taken, LoopHand(self.loop, RATING_W), state, self.clock, self.record)
        if self.desk.config != config():
            self.loop = build_loop(self.desk.config, RATING_W, self.tags, self.store.view)
            self.desk = Desk(config(), taken, LoopHand(self.loop, RATING_W), state, self.clock, self.record)
        self.loop.set_setpoint(2e5)

    def record(self, entry):
        if not self.journal_fails:
            self.recorded.append(dict(entry))
        return self.journal_fails

    @property
    def import_w(self):
        return self.load_w + self.losses_w - self.pv_w - self.discharge_w

    def tick(self):
        self.clock.advance_ns(S // 100)
        now = self.clock.mono_ns()
        if self.ticks % 5 == 0:
            values = (self.import_w, self.load_w, self.pv_w, self.discharge_w, self.soc)
            noisy = [value + self.random.normal() * 200.0 for value in values[:4]]
            self.arriving.append((now + S // 20, [*noisy, self.soc]))
        while self.arriving and self.arriving[0][0] <= now:
            for name, value in zip(MEASURED, self.arriving.popleft()[1], strict=True):
                self.writers["field"].write_one(self.tags.index(name), value, int(Quality.GOOD), 1, now)
        until_s = now / S + self.lease_s
        self.writers["core"].write_one(self.tags.index("system.lease.tie_line_until_s"), until_s, 0, 1, now)
        self.loop.tick(now, 0.01)
        setpoint_w = self.store.read(self.tags.index("control.ess.discharge_setpoint_w")).value
        if self.ticks % 5 == 2:
            self.written_w = setpoint_w
        self.discharge_w += (self.written_w - self.discharge_w) * (0.01 / 0.09)
        self.error_w.append(self.import_w - 2e5)
        self.setpoints_w.append(setpoint_w)
        self.ticks += 1

    def go(self, seconds):
        """Some seconds; the errors of the import in them, W."""
        first = len(self.error_w)
        for _ in range(round(seconds * 10)):
            for _ in range(10):
                self.tick()
            error_w = self.store.read(self.tags.index("control.tie.error_w")).value
            unserved_w = self.store.read(self.tags.index("control.tie.unserved_w")).value
            seen = Seen(
                100.0 * error_w / RATING_W, abs(unserved_w) > 25e3, self.loop.lost, self.degradations,
                self.loop.mode in (RUN, HOLD),
            )  # fmt: skip
            self.told += self.desk.turn(seen, 0.1)
        return np.array(self.error_w[first:])

    def draft(self, wanted, watch_s=20.0, **limits):
        made = self.desk.draft(wanted, "kim", "better", Limits(**limits), watch_s, {})
        assert not isinstance(made, list), made
        return made.number

    def apply(self, wanted, watch_s=20.0, **limits):
        number = self.draft(wanted, watch_s, **limits)
        assert self.desk.carry_out(command(number)) is None
        return number

    def state(self, number):
        return next(one["state"] for one in self.desk.status()["sets"] if one["number"] == number)

    def shown(self, name):
        return self.store.read(self.tags.index(f"control.tuning.{name}")).value

    def classes(self):
        return [one.class_name for one in self.told]
