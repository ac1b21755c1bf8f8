"""``gwanje scenario``: a bad day by script, in a simulated city of its own, or a plant in virtual time; scored."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gwanje.core.city.run_dir import default_run_dir
from gwanje.core.cli.parsing import DEFAULT_SITE, CommandError, Commands
from gwanje.core.clock import SystemClock
from gwanje.core.closed_loop.comparison import carry_out
from gwanje.core.closed_loop.report import lines, to_message
from gwanje.core.closed_loop.runner import LoopError
from gwanje.core.closed_loop.script import LoopScript, load_loop, loop_names
from gwanje.core.scenario.city import City, CityError, copy_site, own_folder
from gwanje.core.scenario.plan import places_of
from gwanje.core.scenario.ports import listened, why_taken
from gwanje.core.scenario.runner import Run, failures_of, metrics, verdict
from gwanje.core.scenario.script import Scenario, load_scenario, names_of
from gwanje.core.scenario.sound import SoundScenario, load_sound, sound_names
from gwanje.core.scenario.sound_run import SoundRun, without_script
from gwanje.core.site.config import load_site

START_S = 30.0
"""A city on a machine that runs tests beside."""


def add(commands: Commands) -> None:
    """Add the command."""
    scenario = commands.add("scenario", _scenario, "faults by script in a simulated city of its own, scored")
    scenario.add_argument("name", nargs="*", help="of configs/SITE/scenarios/NAME.toml; none lists them")
    scenario.add_argument("--site", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
    scenario.add_argument("--seed", type=int, default=1, help="which devices, and of the simulated city")
    scenario.add_argument("--for", dest="for_s", type=float, metavar="S", help="length of the faults, not the file's")
    scenario.add_argument("--json", action="store_true", help="one JSON object per scenario")


def _scenario(chosen: argparse.Namespace) -> int:
    loops, sounds = loop_names(chosen.site), sound_names(chosen.site)
    known = sorted([*names_of(chosen.site), *loops, *sounds])

    def load(name: str) -> Scenario | LoopScript | SoundScenario:
        if name in sounds:
            return load_sound(chosen.site, name)
        return load_loop(chosen.site, name) if name in loops else load_scenario(chosen.site, name)

    if not chosen.name:
        for one in map(load, known):
            print(f"{one.name:20} {one.length_s:5.0f} s  {one.en} · {one.ko}")
        return 0
    if unknown := [one for one in chosen.name if one not in known]:
        there = ", ".join(known) or "none"
        raise CommandError(f"no scenario {unknown[0]!r} in {chosen.site}/scenarios; there are: {there}")
    passed = [_carry_out(chosen, one) for one in [load(name) for name in chosen.name]]
    return 0 if all(passed) else 1


def _carry_out(chosen: argparse.Namespace, script: Scenario | LoopScript | SoundScenario) -> bool:
    match script:
        case LoopScript():
            return _loop(chosen, script)
        case SoundScenario():
            return _sound(chosen, script)
        case _:
            return _run(chosen, script)


def _sound(chosen: argparse.Namespace, script: SoundScenario) -> bool:
    """Sounds at places of a city of its own."""
    clock = SystemClock()

    def say(line: str) -> None:
        if not chosen.json:
            print(line, flush=True)

    say(f"{script.name}: {script.en} · {script.ko} (seed {chosen.seed})")
    with own_folder() as name:
        folder = Path(name)
        try:
            root = copy_site(chosen.site, folder, script.families)
            if not script.script:
                without_script(root)
            site = load_site(root)
            if why := why_taken(site, listened(), default_run_dir(site.id).parent):
                raise CommandError(f"{script.name} is not started: {why}")
            city = City(root, folder, site, chosen.seed, clock)
        except (CityError, OSError) as error:
            raise CommandError(str(error)) from None
        try:
            store = city.attach(START_S)
            run = SoundRun(script, city, store, clock, say)
            settled_s = run.settle()
            say(f"        {len(site.devices)} devices and {len(site.nodes)} microphones well after {settled_s:.1f} s")
            passed = run.carry_out()
        except CityError as error:
            raise CommandError(str(error)) from None
        finally:
            city.close()
    if chosen.json:
        answer = {"scenario": script.name, "seed": chosen.seed, "passed": passed, "settled_s": round(settled_s, 1),
                  "failures": run.failures, "sounds": run.figures}  # fmt: skip
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    say(f"{'PASSED' if passed else 'FAILED'}: {script.name}")
    return passed


def _loop(chosen: argparse.Namespace, script: LoopScript) -> bool:
    """A run in virtual time, beside the other controllers'."""
    if chosen.for_s is not None:
        script = script.lasting(chosen.for_s)

    def progress(name: str, share: float) -> None:
        if sys.stderr.isatty():
            print(f"\r{script.name} {name or 'controller'} {100.0 * share:3.0f} %\033[K", end="", file=sys.stderr)

    if not chosen.json:
        print(f"{script.name}: {script.en} · {script.ko} (seed {chosen.seed})", flush=True)
    try:
        outcome = carry_out(script, chosen.site, chosen.seed, progress)
    except (LoopError, ValueError) as error:
        raise CommandError(str(error)) from None
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if chosen.json:
        print(json.dumps(to_message(script, outcome, chosen.seed), ensure_ascii=False), flush=True)
    else:
        for line in lines(outcome):
            print(line)
        print(f"{'PASSED' if outcome.passed else 'FAILED'}: {script.name}", flush=True)
    return outcome.passed


def _run(chosen: argparse.Namespace, script: Scenario) -> bool:
    clock = SystemClock()
    if chosen.for_s is not None:
        script = script.lasting(chosen.for_s)

    def say(line: str) -> None:
        if not chosen.json:
            print(line, flush=True)

    say(f"{script.name}: {script.en} · {script.ko} (seed {chosen.seed})")
    with own_folder() as name:
        folder = Path(name)
        try:
            root = copy_site(chosen.site, folder, script.families, script.timers)
            site = load_site(root)
            if why := why_taken(site, listened(), default_run_dir(site.id).parent):
                raise CommandError(f"{script.name} is not started: {why}")
            city = City(root, folder, site, chosen.seed, clock)
        except (CityError, OSError) as error:
            raise CommandError(str(error)) from None
        try:
            store = city.attach(START_S)
            run = Run(script, city, store, places_of(site), chosen.seed, clock, say)
            settled_s = run.settle()
            say(f"        {len(site.devices)} devices and {len(site.nodes)} microphones well after {settled_s:.1f} s")
            run.faults()
            run.outages_all()
        except CityError as error:
            raise CommandError(str(error)) from None
        finally:
            city.close()
    return _report(chosen, script, run, settled_s, say)


def _report(chosen: argparse.Namespace, script: Scenario, run: Run, settled_s: float, say: Any) -> bool:
    passed, numbers, failures = verdict(run), metrics(run, settled_s), failures_of(run)
    if chosen.json:
        answer = {"scenario": script.name, "seed": chosen.seed, "passed": passed, "metrics": numbers,
                  "failures": list(failures), "faults": [one.to_message() for one in run.scores],
                  "outages": run.outages}  # fmt: skip
        print(json.dumps(answer, ensure_ascii=False), flush=True)
        return passed
    for line in failures:
        say(f"FAILED  {line}")
    for key in ("kinds_unspecified", "kinds_skipped"):
        for line in numbers[key]:
            say(f"        {key.removeprefix('kinds_')}: {line}")
    say(
        f"{'PASSED' if passed else 'FAILED'}: {numbers['faults']} faults ({numbers['faults_failed']} failed), "
        f"shown within {numbers['shown_s_max']} s, well again within {numbers['recovered_s_max']} s; "
        f"{numbers['others_missed']} periods missed by others; {numbers['outages']} outages "
        f"({numbers['outages_failed']} failed)"
    )
    return passed
