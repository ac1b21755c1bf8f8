"""A small plant and a small controller for tests of the loop between them."""

import math
from types import SimpleNamespace

import numpy as np

from gwanje.core.closed_loop.interface import Told


class Tank:
    """A level that falls by ``draw_w`` and rises by what is commanded; falls back to nothing after 0.5 s of silence."""

    measured = ("tank.level_w", "tank.draw_w")
    commanded = ("tank.fill.discharge_setpoint_w", "tank.valve.close_command")

    def __init__(self, seed, start_s, options):
        self.random = np.random.default_rng(seed)
        self.level, self.draw, self.fill, self.silent_s = float(options.get("level", 0.0)), 0.0, 0.0, 0.0
        self.pulses = []
        self.now_s = start_s

    def advance(self, dt_s):
        self.silent_s += dt_s
        if self.silent_s > 0.5:
            self.fill = 0.0
        self.level += (self.fill - self.draw) * dt_s
        self.now_s += dt_s

    def measure(self, out):
        out[:] = (self.level + 0.001 * self.random.standard_normal(), self.draw)

    def command(self, values):
        if not math.isnan(values[0]):
            self.fill, self.silent_s = values[0], 0.0
        if not math.isnan(values[1]):
            self.pulses.append((round(self.now_s, 3), values[1]))

    def disturb(self, what, values):
        if what != "draw":
            raise ValueError(f"unknown disturbance {what!r}")
        self.draw = float(values["w"])

    def truth(self):
        return {"level_w": self.level, "fill_w": self.fill, "tie_w": self.draw, "stored_wh": self.level,
                "fuel_l": 0.0, "unserved_critical_wh": 0.0, "unserved_priority_wh": 1000.0,
                "unserved_interruptible_wh": 0.0}  # fmt: skip


class Proportional:
    reads = ("tank.draw_w", "tank.level_w", "tank.unknown")
    writes = ("tank.valve.close_command", "tank.fill.discharge_setpoint_w", "tank.nobody")
    period_s = 0.01

    def __init__(self, options):
        self.gain, self.mode, self.lines, self.seen = float(options.get("gain", 2.0)), "run", [], []
        self.pulse = False

    def step(self, now_s, values, quality, age_s, out):
        self.seen.append((now_s, values.copy(), quality.copy(), age_s.copy()))
        out[:] = math.nan
        if self.pulse:
            out[0], self.pulse = 1.0, False
        if not quality[1] & 0x8000:
            out[1] = -self.gain * values[1] + (values[0] if not quality[0] & 0x8000 else 0.0)

    def ask(self, what, values):
        if what == "pulse":
            self.pulse = True
        elif what == "mode":
            self.mode = values["to"]
            self.lines.append(Told(0.0, "mode", "모드", "mode"))
        else:
            return f"knows no {what}"
        return ""

    def told(self):
        lines, self.lines = self.lines, []
        return lines

    def state(self):
        return {"mode": self.mode, "gain": self.gain}


def open_plant(site_root, seed, start_s, options):
    return Tank(seed, start_s, options)


def open_controller(site_root, options):
    return Proportional(options)


def open_nobody(site_root, options):
    return SimpleNamespace(
        reads=(), writes=(), period_s=1.0, step=lambda *_: None, ask=lambda *_: "nobody", told=lambda: (),
        state=lambda: {"mode": "none"},
    )  # fmt: skip


def price(site_root, script, record):
    return {"money_krw": float(record.series["tie_w"].sum())}


def trials(site_root, seed, count, options):
    return {"trials": count, "trials_bad": options.get("bad", 0)}
