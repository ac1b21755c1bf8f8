"""Unplanned islands from any time of the day on the simulated microgrid: ``python island_starts.py [--seeds 2]``.

The scenario island-unplanned in short, from many starts: the import is set to 500 kW, the utility goes away after a
minute, a step of 20 % follows a minute later, and one of 50 % after that. One line a run, then the worst of all.
``--inertia 0.5`` asks the same of batteries with the reference's inertia, ``--ready off`` of a city that is not ready.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from gwanje.control.microgrid.settings import read_settings
from gwanje.core.closed_loop.comparison import named
from gwanje.core.closed_loop.runner import ClosedLoop, Event
from gwanje.core.closed_loop.scoring import Criterion, Measure, score
from gwanje.core.closed_loop.script import load_loop

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
LOSS_S, STEP20_S, STEP50_S, END_S = 60.0, 120.0, 160.0, 175.0
STEPS = {"jincheon.shops": 200e3, "jincheon.homes": 200e3, "eumseong.homes2": 100e3}
HZ = {"of": "min", "signals": ("frequency_hz",)}
MEASURES = (
    Measure(name="import_w", of="final", signals=("tie_w",), until_s=LOSS_S),
    Measure(name="net_w", of="final", signals=("tie_w", "state:command_w"), until_s=LOSS_S),
    Measure(name="put_off_w", of="final", signals=("state:flexible_w",), until_s=LOSS_S),
    Measure(name="stable_s", of="settle", signals=("frequency_hz",), from_s=LOSS_S, until_s=STEP20_S - 1.0,
            target=59.9, band=0.6),
    Measure(name="nadir_hz", **HZ, from_s=LOSS_S, until_s=STEP20_S - 1.0),
    Measure(name="back_s", of="settle", signals=("frequency_hz",), from_s=LOSS_S, until_s=LOSS_S + 15.0,
            target=60.0, band=0.05),
    Measure(name="low_s", of="outside", signals=("bus_live",), from_s=LOSS_S, target=1.0, band=0.5),
    Measure(name="step20_nadir_hz", **HZ, from_s=STEP20_S, until_s=STEP20_S + 12.0),
    Measure(name="step20_settle_s", of="settle", signals=("frequency_hz",), from_s=STEP20_S, until_s=STEP20_S + 11.9,
            target=60.0, band=0.05),
    Measure(name="step50_nadir_hz", **HZ, from_s=STEP50_S, until_s=STEP50_S + 9.9),
    Measure(name="step50_settle_s", of="settle", signals=("frequency_hz",), from_s=STEP50_S, until_s=STEP50_S + 9.9,
            target=60.0, band=0.05),
    Measure(name="unserved_wh", of="final", signals=("unserved_wh",)),
)  # fmt: skip
GOALS = (
    Criterion(metric="stable_s", at_most=0.16),
    Criterion(metric="low_s", at_most=0.0),
    Criterion(metric="step20_nadir_hz", at_least=59.70),
    Criterion(metric="step20_settle_s", at_most=1.0),
    Criterion(metric="step50_nadir_hz", at_least=59.20),
    Criterion(metric="step50_settle_s", at_most=2.0),
)
FINE = ((LOSS_S - 1.0, LOSS_S + 15.0), (STEP20_S - 1.0, STEP20_S + 12.0), (STEP50_S - 1.0, STEP50_S + 10.0))


def events() -> list[Event]:
    """Of a run."""
    found = [Event(1.0, "ask", "import_setpoint", values={"w": 500e3}), Event(LOSS_S, "disturb", "grid_lost")]
    found += [_step(STEP20_S, "jincheon.shops", 200e3), _step(STEP20_S + 30.0, "jincheon.shops", -200e3)]
    for device, watts in STEPS.items():
        found += [_step(STEP50_S, device, watts), _step(STEP50_S + 10.0, device, -watts)]
    return found


def _step(at_s: float, device: str, watts: float) -> Event:
    return Event(at_s, "disturb", "load_step", values={"device": device, "w": watts})


def run(start_s: float, seed: int, ready: str, options: dict[str, object]) -> dict[str, float]:
    """Numbers of one run."""
    script = load_loop(SITE, "island-unplanned")
    settings = read_settings(SITE)
    settings = replace(settings, ready=replace(settings.ready, always=ready or settings.ready.always))
    plant = named(script.plant)(SITE, seed, start_s, {**script.plant_options, **options})
    controller = named(script.controller)(SITE, {"clock_offset_s": start_s, "settings": settings})
    signals = tuple(dict.fromkeys(signal for one in MEASURES for signal in one.signals))
    loop = ClosedLoop(plant, controller, script.up, script.down, seed, signals, 0.1, FINE)
    return score(loop.run(events(), END_S), MEASURES)


def main() -> int:
    """Run all, tell each and the worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=12, help="over the day")
    parser.add_argument("--first", type=float, default=0.0, help="hour of the first start")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ready", default="", choices=("off", "flexible", "generators"), help="not the site's own")
    parser.add_argument("--inertia", type=float, help="of the forming batteries, s; not the site's own")
    chosen = parser.parse_args()
    options: dict[str, object] = {}
    names = [one.name for one in MEASURES]
    print("   h seed " + " ".join(f"{name:>15}" for name in names))
    with tempfile.TemporaryDirectory() as folder:
        if chosen.inertia is not None:
            text = (SITE / "microgrid" / "plant.toml").read_text(encoding="utf-8")
            path = Path(folder, "plant.toml")
            path.write_text(text.replace("inertia_s = 2.0", f"inertia_s = {chosen.inertia}"), encoding="utf-8")
            options["file"] = str(path)
        found = []
        for k in range(chosen.starts):
            hour = (chosen.first + 24.0 * k / chosen.starts) % 24.0
            for seed in range(1, chosen.seeds + 1):
                numbers = run(3600.0 * hour, seed, chosen.ready, options)
                found.append(numbers)
                shown = " ".join(f"{numbers[name]:15.3f}" for name in names)
                print(f"{hour:4.1f} {seed:4d} {shown}", flush=True)
    failed = 0
    for goal in GOALS:
        values = [one[goal.metric] for one in found]
        holds = [goal.holds(one) for one in found]
        failed += holds.count(False)
        spread = f"least {min(values):.3f}, greatest {max(values):.3f}"
        print(f"{goal.text():28} {spread}, held {sum(holds)} of {len(holds)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
