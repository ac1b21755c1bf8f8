"""Seeded fault cases: one microgrid, one or more faults, and in every period what a command must never do.

In the suite a few run; all of them:  python tests/control/microgrid/fault_cases.py --cases 10000 [--seed 0]
"""

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from light_plant import LOADS
from loop import AS_CONFIGURED, BAD, SETTINGS, Loop

WARM_S, FAULT_S = 0.8, 1.7
PERIODS_S = 3 * SETTINGS.timing.secondary_s
NAN = math.nan
TOLERANCE = 1e-6

FAULTS = ("loss", "loss_all", "delay", "stuck", "nan", "sign", "skew_ahead", "skew_behind", "liar", "noise_bits")
EVENTS = ("none", "trip", "island", "breaker_refuses", "derate", "offline", "infeasible", "load_step", "sun_gone")
TARGETS = ("grid.tie.import_w", "jincheon.ess1.discharge_w", "eumseong.ess2.soc", "jincheon.ess1.charge_w_max",
           "jincheon.factory.load_w", "jincheon.pv_roof.generation_w", "grid.bus.voltage_v", "grid.breaker.closed",
           "grid.tie.reactive_var", "eumseong.ess2.online", "grid.tie.frequency_hz")  # fmt: skip


class Case:
    """One case; ``broken`` holds what a command did that it must not."""

    def __init__(self, seed):
        self.random = random = np.random.default_rng(seed)
        self.seed = seed
        socs = [float(random.choice([0.02, 0.05, 0.06, 0.3, 0.5, 0.8, 0.945, 0.99])) for _ in range(3)]
        self.loop = Loop(AS_CONFIGURED, float(random.choice([0.02, 0.05, 0.1])), seed, socs, self.spoil)
        self.fault = str(random.choice(FAULTS))
        self.event = str(random.choice(EVENTS))
        n = int(random.integers(1, 4))
        self.tags = [str(one) for one in random.choice(TARGETS, n, replace=False)]
        if self.fault == "liar":
            self.tags = [f"grid.bus.frequency{int(random.integers(1, 4))}_hz"]
        if self.fault == "sign":
            self.tags = ["grid.tie.import_w", *self.tags[:1]]
        if self.fault == "loss_all":
            self.tags = list(self.loop.controller.reads)
        self.places = [self.loop.at(tag) for tag in self.tags]
        self.held = None
        self.late = []
        self.ahead_s = float(random.uniform(0.5, 100.0))
        self.liar_hz = float(random.choice([-3.0, -0.5, 0.5, 2.0]))
        self.broken = []
        self.beyond = {}
        self.previous = None
        self.seen = None
        plant = self.loop.plant
        self.index = {
            name: (self.loop.to(f"{name}.discharge_setpoint_w"), self.loop.to(f"{name}.reactive_setpoint_var"),
                   self.loop.at(f"{name}.charge_w_max"), self.loop.at(f"{name}.discharge_w_max"),
                   self.loop.at(f"{name}.soc"), self.loop.at(f"{name}.discharge_w"))
            for name in plant.battery
        }  # fmt: skip
        writes, site = list(enumerate(self.loop.controller.writes)), SETTINGS.site
        volts = [to for to, tag in writes if tag.endswith("voltage_setpoint_pu")]
        limits = [(to, site.voltage_low_pu, site.voltage_high_pu) for to in volts]
        limits += [(to, 59.0, 61.0) for to, tag in writes if tag.endswith("frequency_setpoint_hz")]
        limits += [(self.loop.to(f"{one.name}.generation_w_max_setpoint"), 0.0, one.rated_w) for one in SETTINGS.source]
        limits += [(self.loop.to(f"{one.name}.generation_setpoint_w"), 0.0, one.rated_w) for one in SETTINGS.generator]
        limits += [(self.loop.to(f"{one.load}.{one.command}"), one.floor_w if "w_max" in one.command else 0.0,
                    one.rated_w if "w_max" in one.command else 1.0) for one in SETTINGS.flexible]  # fmt: skip
        self.boxes = tuple(np.array(column) for column in zip(*limits, strict=True))

    @property
    def faulty(self):
        return self.loop.now_s - 100.0 >= WARM_S

    def spoil(self, loop, values, quality, age_s):
        if self.faulty:
            self._spoil(values, quality, age_s)
        self.seen = (values.copy(), quality.copy(), age_s.copy())

    def _spoil(self, values, quality, age_s):
        at = self.places
        if self.held is None:
            self.held = (values[at].copy(), age_s[at].copy())
        if self.fault in ("loss", "loss_all"):
            quality[at] = BAD
        elif self.fault == "delay":
            self.late.append((values[at].copy(), age_s[at].copy()))
            lag = min(len(self.late), 40)
            values[at], age_s[at] = self.late[-lag][0], self.late[-lag][1] + 0.01 * (lag - 1)
        elif self.fault == "stuck":
            values[at] = self.held[0]
        elif self.fault == "nan":
            values[at] = NAN
        elif self.fault == "sign":
            values[at] = -values[at]
        elif self.fault == "skew_ahead":
            age_s[at] -= self.ahead_s
        elif self.fault == "skew_behind":
            age_s[at] += self.ahead_s
        elif self.fault == "liar":
            values[at] += self.liar_hz
        elif self.fault == "noise_bits":
            values[at] = self.random.choice([NAN, math.inf, -math.inf, 1e300, -1e300, 0.0, -1.0, 5e5], len(at))
            quality[at] = self.random.choice([0, 0x4000, BAD, 0x1000], len(at))
            age_s[at] = self.random.choice([0.0, -5.0, 1e9, NAN, math.inf], len(at))

    def happen(self):
        loop, plant = self.loop, self.loop.plant
        if self.event == "trip":
            plant.trip()
        elif self.event == "island":
            loop.controller.ask("island", {})
        elif self.event == "breaker_refuses":
            plant.refuses = True
            loop.controller.ask("island", {})
        elif self.event == "derate":
            for one in plant.battery.values():
                one.limit = float(self.random.uniform(0.0, 0.5))
        elif self.event == "offline":
            self.tags.append("jincheon.ess1.online")
        elif self.event == "infeasible":
            plant.trip()
            for name in LOADS:
                plant.loads[name] *= 3.0
        elif self.event == "load_step":
            plant.loads["jincheon.homes"] += 600e3
        elif self.event == "sun_gone":
            for name in plant.sources:
                plant.sources[name] *= 0.1

    def run(self):
        loop = self.loop
        loop.run(WARM_S, self.check)
        self.happen()
        loop.run(FAULT_S, self.check)
        return self.broken

    def wrong(self, what):
        if len(self.broken) < 3:
            about = f"seed {self.seed} {self.fault} {self.tags[:3]} {self.event} at {loop_s(self.loop):.2f}"
            self.broken.append(f"{about}: {what}")

    def check(self, loop):
        out, (values, quality, age_s) = loop.out, self.seen
        if np.isinf(out).any():
            self.wrong("an infinite command")
        to, low, high = self.boxes
        present = out[to]
        if ((present < low - TOLERANCE) | (present > high + TOLERANCE)).any():
            self.wrong(f"beyond its box: {[loop.controller.writes[k] for k in to[(present < low) | (present > high)]]}")
        for one in SETTINGS.battery:
            self._battery(one, out, values, quality, age_s)
        self.previous = out.copy()

    def _battery(self, one, out, values, quality, age_s):
        to, q_to, charge_at, discharge_at, soc_at, power_at = self.index[one.name]
        power = out[to]
        if power != power:
            return

        def shown(at, low, high):
            fresh = age_s[at] <= 0.3 and not quality[at] & BAD and low <= values[at] <= high
            return float(values[at]) if fresh else NAN

        charge, discharge = shown(charge_at, 0.0, 6e5), shown(discharge_at, 0.0, 6e5)
        # fmin: a limit that cannot be used leaves the rating.
        most = float(np.fmin(one.discharge_w_max, discharge))
        least = -float(np.fmin(one.charge_w_max, charge))
        if not least - TOLERANCE <= power <= most + TOLERANCE:
            self.wrong(f"{one.name}: {power:.1f} W outside {least:.1f}…{most:.1f}")
        soc, true = shown(soc_at, 0.0, 1.0), self.loop.plant.battery[one.name].soc
        honest = self.fault not in ("stuck", "sign", "noise_bits") or f"{one.name}.soc" not in self.tags
        for kind, known in (("shown", soc), ("true", true if honest else NAN)):
            empties = known <= SETTINGS.limits.soc_min - 1e-3 and power > TOLERANCE
            fills = known >= SETTINGS.limits.soc_max + 1e-3 and power < -TOLERANCE
            # Charge is looked at once in a secondary period; it moves by millionths in that time.
            key = (one.name, kind)
            self.beyond[key] = self.beyond.get(key, 0) + 1 if empties or fills else 0
            if self.beyond[key] > 10:
                self.wrong(f"{one.name}: {power:.0f} W at a {kind} charge of {known:.3f}")
        before = self.previous[to] if self.previous is not None else NAN
        step = abs(power - before)
        forced = power in (most, least) or abs(power - most) < 1.0 or abs(power - least) < 1.0
        if step > one.ramp_w_per_s * 0.01 + TOLERANCE and not forced and abs(power) > abs(before):
            self.wrong(f"{one.name}: steps by {step:.0f} W")
        measured = shown(power_at, -1e6, 1e6)
        if out[q_to] ** 2 + min(measured, 0.0) ** 2 > (1.05 * one.apparent_va) ** 2 and measured == measured:
            self.wrong(f"{one.name}: reactive power beyond the rating")


def loop_s(loop):
    return loop.now_s - 100.0


class SafeState(Case):
    """Everything is lost at once: within three periods the batteries' commands stand still."""

    def __init__(self, seed):
        super().__init__(seed)
        self.fault, self.event = "loss_all", "none"
        self.tags = list(self.loop.controller.reads)
        self.places = list(range(len(self.tags)))
        self.stands = None

    def check(self, loop):
        super().check(loop)
        if loop_s(loop) >= WARM_S + PERIODS_S:
            now = [loop.out[self.index[name][0]] for name in self.index]
            pairs = [(a, b) for a, b in zip(now, self.stands or now, strict=True) if a == a]
            if any(abs(a - b) > 1.0 for a, b in pairs):
                self.wrong(f"moves without any value: {self.stands} → {now}")
            self.stands = now


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--cases", type=int, default=10_000)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    kinds, broken = Counter(), []
    for seed in range(asked.seed, asked.seed + asked.cases):
        case = (SafeState if seed % 10 == 0 else Case)(seed)
        found = case.run()
        kinds[f"{case.fault}/{case.event}"] += 1
        if found:
            broken += found
            print(*found, sep="\n", flush=True)
        if (seed + 1 - asked.seed) % 1000 == 0:
            print(f"{seed + 1 - asked.seed} cases, {len(broken)} broken", flush=True)
    print(f"{asked.cases} cases of {len(kinds)} kinds, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
