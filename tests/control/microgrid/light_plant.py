"""A light plant for tests of the fast layers: one bus, quasi-static droop, first-order devices, instruments with noise.

It shares nothing with the simulated city but the tags. 10 ms a step, about 40 µs.
"""

import math

import numpy as np

LOADS = {
    "jincheon.clinic": 50e3, "jincheon.homes": 300e3, "eumseong.homes2": 180e3, "jincheon.shops": 150e3,
    "city.lamps": 200e3, "jincheon.factory": 350e3, "eumseong.pump_station": 60e3, "eumseong.heat_pump": 100e3,
    "jincheon.ev_site": 120e3, "eumseong.ev_site2": 30e3,
}  # fmt: skip
SOURCES = {
    "jincheon.pv_roof": 300e3, "eumseong.pv_float": 250e3, "jincheon.pv_school": 20e3, "jincheon.pv_parking": 25e3,
    "eumseong.wind1": 60e3, "eumseong.wind2": 8e3,
}  # fmt: skip
BATTERIES = {"jincheon.ess1": (500e3, 1e6), "eumseong.ess2": (500e3, 1e6), "jincheon.storage1": (100e3, 200e3)}
FORMING = ("jincheon.ess1", "eumseong.ess2")
GENERATORS = {"jincheon.diesel1": (640e3, 8.0, 0.04), "eumseong.chp1": (400e3, 60.0, 0.0)}
NOMINAL_HZ, NOMINAL_V = 60.0, 22_900.0
DT_S = 0.01
LAG_S = 0.06
DROOP = 0.01
OPENS_S, CLOSES_S = 0.02, 0.06


class Battery:
    def __init__(self, name, soc=0.5):
        self.name = name
        self.rated_w, self.energy_wh = BATTERIES[name]
        self.soc, self.power_w, self.q_var = soc, 0.0, 0.0
        self.setpoint_w = self.setpoint_var = 0.0
        self.hz, self.pu, self.forming = NOMINAL_HZ, 1.0, name in FORMING
        self.limit = 1.0

    @property
    def stiffness(self):
        return self.rated_w / (DROOP * NOMINAL_HZ) if self.forming else 0.0

    def most_w(self):
        return self.limit * self.rated_w if self.soc > 0.04 else 0.0

    def least_w(self):
        return -self.limit * self.rated_w if self.soc < 0.96 else 0.0


class Generator:
    def __init__(self, name):
        self.rated_w, self.start_s, self.droop = GENERATORS[name]
        self.power_w = self.setpoint_w = 0.0
        self.wanted, self.since_s = False, 0.0

    @property
    def running(self):
        return self.wanted and self.since_s >= self.start_s


class LightPlant:
    """See :class:`gwanje.core.closed_loop.interface.Plant`; reads and writes any tags that it is given."""

    def __init__(self, reads, writes, seed=0, socs=(0.5, 0.5, 0.5)):
        self.random = np.random.default_rng(seed)
        self.measured, self.commanded = tuple(reads), tuple(writes)
        self.heard = np.full(len(self.commanded), math.nan)
        self.loads, self.sources = dict(LOADS), dict(SOURCES)
        self.given = dict(SOURCES)
        self.limit = dict.fromkeys(SOURCES, math.inf)
        self.load_limit = dict.fromkeys(LOADS, math.inf)
        self.closed_load = dict.fromkeys(LOADS, True)
        self.battery = {name: Battery(name, soc) for name, soc in zip(BATTERIES, socs, strict=True)}
        self.generator = {name: Generator(name) for name in GENERATORS}
        self.closed, self.tripped, self.refuses = True, False, False
        self.order, self.order_s = None, 0.0
        self.hz = self.grid_hz = NOMINAL_HZ
        self.bus_pu = self.grid_pu = 1.0
        self.angle = 0.3
        self.import_w = self.import_var = 0.0
        self.live = True
        self.now_s = 0.0
        self.noise = 1.0
        self.unserved_wh = dict.fromkeys(LOADS, 0.0)
        self.import_w = self._balance()

    # -- what happens

    def load_w(self, name):
        if not self.live or not self.closed_load[name]:
            return 0.0
        return min(self.loads[name], self.load_limit[name]) * (1.0 + 0.015 * (self.hz - NOMINAL_HZ))

    def trip(self):
        self.closed, self.tripped = False, False

    def _balance(self):
        load_w = sum(self.load_w(name) for name in self.loads)
        given_w = sum(self.given.values()) + sum(one.power_w for one in self.generator.values())
        return load_w * 1.02 - given_w - sum(one.power_w for one in self.battery.values())

    def advance(self, dt_s):
        for _ in range(round(dt_s / DT_S)):
            self._step()

    def _step(self):
        self.now_s += DT_S
        share = DT_S / (LAG_S + DT_S)
        for name, one in self.battery.items():
            wanted = one.setpoint_w + one.stiffness * (one.hz - self.hz)
            wanted = min(max(wanted, one.least_w()), one.most_w()) if self.live else 0.0
            one.power_w += (wanted - one.power_w) * (0.5 if one.forming and not self.closed else share)
            one.q_var += (one.setpoint_var - one.q_var) * share
            one.soc -= one.power_w * DT_S / (one.energy_wh * 3600.0) * (1.02 if one.power_w > 0 else 0.98)
            assert name in BATTERIES
        for one in self.generator.values():
            one.since_s = one.since_s + DT_S if one.wanted else 0.0
            droop_w = one.rated_w / (one.droop * NOMINAL_HZ) * (NOMINAL_HZ - self.hz) if one.droop else 0.0
            wanted = min(max(one.setpoint_w + droop_w, 0.3 * one.rated_w), one.rated_w) if one.running else 0.0
            one.power_w += (wanted - one.power_w) * DT_S / (0.3 + DT_S)
        for name, could in self.sources.items():
            wanted = min(could, self.limit[name]) * max(1.0 - max(self.hz - 60.2, 0.0) / 2.0, 0.0) * self.live
            self.given[name] += (wanted - self.given[name]) * share
        self._breaker()
        missing_w = self._balance()
        if self.closed:
            self.import_w, self.hz, self.bus_pu = missing_w, self.grid_hz, self.grid_pu
            self.import_var = 150e3 - sum(one.q_var for one in self.battery.values())
            self.angle = 0.0
            return
        self.import_w = self.import_var = 0.0
        stiffness = sum(one.stiffness for one in self.battery.values() if one.most_w() > 0.0)
        if stiffness <= 0.0 and not any(one.running for one in self.generator.values()):
            self.live = False
        if not self.live:
            self.hz, self.bus_pu = 0.0, 0.0
            forms = any(one.forming and one.setpoint_w == one.setpoint_w for one in self.battery.values())
            if forms and self.blackstart:
                self.live, self.hz, self.bus_pu = True, NOMINAL_HZ, 1.0
            return
        self.hz -= missing_w / max(stiffness, 3e5) * 0.4
        self.angle = math.remainder(self.angle + math.tau * (self.hz - self.grid_hz) * DT_S, math.tau)
        self.bus_pu += (self.battery["jincheon.ess1"].pu - self.bus_pu) * 0.2
        if not 56.0 < self.hz < 63.0:
            self.live, self.blackstart = False, False
            for one in self.battery.values():
                one.forming = False

    blackstart = False

    def _breaker(self):
        if self.order is None or self.refuses:
            return
        self.order_s += DT_S
        if not self.order and self.order_s >= OPENS_S:
            self.closed, self.order = False, None
        elif self.order and self.order_s >= CLOSES_S:
            self.closed, self.order = True, None

    # -- the loop's interface

    def measure(self, out):
        normal = self.random.normal
        for k, tag in enumerate(self.measured):
            out[k] = self._value(tag) + self.noise * self._noise(tag) * normal()

    def _noise(self, tag):
        word = tag.rsplit(".", 1)[-1]
        if word.endswith("_hz"):
            return 0.001
        if word.endswith(("_w", "_var")) and "max" not in word:
            return 150.0
        return 0.0

    def _value(self, tag):
        name, _, word = tag.rpartition(".")
        if name == "grid.tie":
            return {"import_w": self.import_w, "reactive_var": self.import_var, "voltage_v": self.grid_pu * NOMINAL_V,
                    "frequency_hz": self.grid_hz}[word]  # fmt: skip
        if name == "grid.breaker":
            return {"closed": float(self.closed), "tripped": float(self.tripped), "angle_rad": self.angle,
                    "slip_hz": self.hz - self.grid_hz,
                    "voltage_difference_pu": self.bus_pu - self.grid_pu}[word]  # fmt: skip
        if name == "grid.bus":
            return self.bus_pu * NOMINAL_V if word == "voltage_v" else self.hz
        if name in self.battery:
            one = self.battery[name]
            return {"discharge_w": one.power_w, "reactive_var": one.q_var, "soc": one.soc, "online": 1.0,
                    "charge_w_max": -one.least_w(), "discharge_w_max": one.most_w(),
                    "forming": float(one.forming)}[word]  # fmt: skip
        if name in self.generator:
            one = self.generator[name]
            return {"generation_w": one.power_w, "running": float(one.running)}[word]
        if name in self.sources:
            return self.given[name] if word == "generation_w" else self.sources[name]
        return self.load_w(name) if word == "load_w" else float(self.closed_load[name])

    def command(self, values):
        for k in np.flatnonzero((values != self.heard) & ~np.isnan(values)):
            self._obey(self.commanded[k], float(values[k]))
        # Orders to breakers pass; set-points stand.
        self.heard = values.copy()

    def _obey(self, tag, value):
        name, _, word = tag.rpartition(".")
        if name == "grid.breaker":
            if word == "close_command" and (value > 0.5) != self.closed and self.order != (value > 0.5):
                self.order, self.order_s = value > 0.5, 0.0
            return
        if name in self.battery:
            one = self.battery[name]
            if word == "discharge_setpoint_w":
                one.setpoint_w = value
            elif word == "reactive_setpoint_var":
                one.setpoint_var = value
            elif word == "forming_command":
                one.forming = value > 0.5
                self.blackstart = self.blackstart or (one.forming and not self.live)
            elif word == "frequency_setpoint_hz":
                one.hz = value
            elif word == "voltage_setpoint_pu":
                one.pu = value
        elif name in self.generator:
            if word == "start_command":
                self.generator[name].wanted = value > 0.5
            elif word == "generation_setpoint_w":
                self.generator[name].setpoint_w = value
        elif name in self.sources:
            if word == "generation_w_max_setpoint":
                self.limit[name] = value
        elif word == "close_command":
            self.closed_load[name] = value > 0.5
        elif word == "load_w_max_setpoint":
            self.load_limit[name] = value
        elif word == "dim_command":
            self.load_limit[name] = value * 300e3
