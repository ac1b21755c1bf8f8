"""The controller and the light plant in one loop of virtual time, with a way of some delay and hooks for faults."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
from light_plant import DT_S, LightPlant

from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.settings import read_settings

SITE = Path(__file__).parents[3] / "configs" / "chungbuk"
AS_CONFIGURED = read_settings(SITE)
SETTINGS = replace(AS_CONFIGURED, ready=replace(AS_CONFIGURED.ready, always="off"))
"""Of the site, but nothing gives way to be ready for an island: one law at a time."""
QUICK = replace(SETTINGS, modes=replace(SETTINGS.modes, enter_service_s=2.0))
"""The same, but the utility need not have been well for minutes before a return."""
BAD = 0x8000


class Loop:
    """Frames of 50 ms that come ``delay_s`` later; ``spoil(loop, values, quality, age)`` may change what comes."""

    def __init__(self, settings=SETTINGS, delay_s=0.05, seed=0, socs=(0.5, 0.5, 0.5), spoil=None):
        self.controller = MicrogridController(settings)
        self.plant = LightPlant(self.controller.reads, self.controller.writes, seed, socs)
        n = len(self.controller.reads)
        self.delay, self.spoil = round(delay_s / DT_S), spoil
        self.tick = 0
        self.frames, self.orders = deque(), deque()
        self.values, self.quality = np.full(n, np.nan), np.full(n, BAD, np.uint16)
        self.stamp_s = np.full(n, -np.inf)
        self.out = np.full(len(self.controller.writes), np.nan)
        self.told = []
        self.now_s = 100.0
        self.each = None
        self.lose_frame = None

    def at(self, tag):
        return self.controller.image.index[tag]

    def to(self, tag):
        return self.controller.commands.index[tag]

    def run(self, seconds, each=None):
        for _ in range(round(seconds / DT_S)):
            self.step()
            if each is not None:
                each(self)
        return self

    def step(self):
        if self.tick % 5 == 0 and not (self.lose_frame is not None and self.lose_frame()):
            shown = np.empty(len(self.controller.reads))
            self.plant.measure(shown)
            self.frames.append((self.tick + self.delay, self.now_s, shown))
        while self.frames and self.frames[0][0] <= self.tick:
            _, stamp, shown = self.frames.popleft()
            self.values, self.quality = shown, np.zeros(len(shown), np.uint16)
            self.stamp_s = np.full(len(shown), stamp)
        values, quality, age_s = self.values.copy(), self.quality.copy(), self.now_s - self.stamp_s
        if self.spoil is not None:
            self.spoil(self, values, quality, age_s)
        self.controller.step(self.now_s, values, quality, age_s, self.out)
        self.told += self.controller.told()
        self.plant.command(self.out)
        self.plant.advance(DT_S)
        self.tick += 1
        self.now_s = 100.0 + self.tick * DT_S

    def command_w(self):
        """Sum of what batteries and generators are told, W."""
        units = self.controller.units
        return units.commanded_w() + units.generators_w()

    def kinds(self):
        return {one.kind for one in self.told}
