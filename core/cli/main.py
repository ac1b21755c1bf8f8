"""The program ``gwanje``: one entry for operators, engineers, analysts and benches.

Every command fails with one line on stderr and a code other than 0; a traceback means a bug.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gwanje import __version__
from gwanje.core.bus.bus import Bus, BusError, RequestRefusedError, RequestTimeoutError
from gwanje.core.city.part import PartError
from gwanje.core.city.run_dir import RunDirError
from gwanje.core.cli import (
    acoustic,
    alarms,
    bus,
    journal,
    keys,
    ledger,
    listen,
    operate,
    safety,
    scan,
    scenario,
    sessions,
    tags,
    talk,
    tune,
    users,
    year,
)
from gwanje.core.cli.parsing import DEFAULT_SITE, CommandError, Commands, attached, history_of, with_site
from gwanje.core.clock import SystemClock
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.store import StoreError

BENCHES = {
    "core": "gwanje.core.benches.area:run",
    "loop": "gwanje.control.bench:run_loop",
    "dispatch": "gwanje.control.bench:run_dispatch",
    "powerflow": "gwanje.control.microgrid.bench.powerflow:run",
    "banshee": "gwanje.control.microgrid.peers.banshee.bench:run",
    "estimation": "gwanje.control.microgrid.bench.estimation:run",
    "mpc": "gwanje.control.microgrid.planner.bench:run",
    "plant": "gwanje.io.sim.microgrid.bench:run",
    "acoustic": "gwanje.control.acoustic.bench:run",
    "field": "gwanje.io.field.bench:run",
    "modbus": "gwanje.io.field.modbus.bench:run",
    "historian": "gwanje.historian.bench:run",
}
"""Area → function; looked up by name because core imports none of these parts."""

EXPECTED = (CommandError, BusError, RunDirError, StoreError, PartError, RequestTimeoutError, RequestRefusedError)
"""Errors that say in one line what is wrong."""


def entry(name: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except ConfigErrors as errors:
        for problem in errors.problems:
            print(problem, file=sys.stderr)
        count = len(errors.problems)
        print(f"gwanje: {count} error{'s' if count > 1 else ''} in the site's files", file=sys.stderr)
        return 1
    except EXPECTED as error:
        print(f"gwanje: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gwanje", description="Control centre of a smart-energy city.")
    parser.add_argument("--version", action="version", version=f"gwanje {__version__}")
    commands = Commands(parser)
    command = commands.add

    up = command("up", _up, "start the whole city and keep it running")
    up.add_argument("site", nargs="?", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
    up.add_argument("--run", dest="run_dir", type=Path, help="run directory, in memory (default: on /dev/shm)")
    up.add_argument("--data", type=Path, help="where history, journal and state go (default: var/ beside configs/)")
    up.add_argument("--for", dest="for_s", type=_positive, metavar="S", help="stop after S seconds")
    up.add_argument("--speed", type=_speed, default=1.0, help="how much faster the simulated world runs (1…1000)")
    up.add_argument("--seed", type=int, default=1, help="of everything random in the simulated city")
    up.add_argument("--start", type=_second, default=14_400.0, metavar="S", help="second of the measured day (0…43200)")
    up.add_argument("--no-hmi", action="store_true", help="without the control-room screen")
    up.add_argument("--lang", choices=("ko", "en"), default="ko", help="language of the screen")
    up.add_argument("--json", action="store_true", help="one JSON object a second; the last line sums up")

    status = command("status", _status, "what runs")
    with_site(status)
    status.add_argument("--json", action="store_true")

    tags.add(commands)

    check = command("check", _check, "every error in a site's files, with file and line")
    check.add_argument("site", nargs="?", type=Path, default=DEFAULT_SITE)
    check.add_argument("--data", type=Path, help="where the site's keys lie (default: var/ beside configs/)")

    hmi = command("hmi", _hmi, "the control room")
    with_site(hmi)
    hmi.add_argument("--display", default="overview")
    hmi.add_argument("--size", default="1920x1080", metavar="WxH")
    hmi.add_argument("--lang", choices=("ko", "en"), default="ko")
    hmi.add_argument("--screenshot", type=Path, metavar="FILE", help="write a picture and end")

    query = command("query", _query, "ask the historian in SQL")
    query.add_argument("sql")
    with_site(query)
    query.add_argument("--history", type=Path, help="history folder (default: the running city's, or the last run's)")
    query.add_argument("--format", choices=("table", "csv", "parquet"), default="table")
    query.add_argument("--out", type=Path, help="file to write; parquet needs one")

    play = command("play", _play, "play a recording at one simulated microphone node")
    play.add_argument("file", type=Path)
    play.add_argument("--node", required=True)
    play.add_argument("--snr", type=float, default=20.0, metavar="DB", help="above the node's background (default: 20)")
    with_site(play)

    journal.add(commands)
    keys.add(commands)
    bus.add(commands)
    users.add(commands)
    sessions.add(commands)
    operate.add(commands)
    safety.add(commands)
    alarms.add(commands)
    scenario.add(commands)
    scan.add(commands)
    tune.add(commands)
    year.add(commands)
    ledger.add(commands)
    acoustic.add(commands)
    listen.add(commands)
    talk.add(commands)

    bench = command("bench", _bench, "measure this machine")
    bench.add_argument("area", nargs="*", metavar="AREA", help=f"{', '.join(BENCHES)} (default: all)")
    bench.add_argument("--json", type=Path, metavar="FILE")
    bench.add_argument("--peers", action="store_true", help="measure the peers in the same run")
    bench.add_argument("--rounds", type=int, default=5)
    bench.add_argument("--seconds", type=float, default=None, help="length of the timed runs")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


def _speed(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be 1…1000")
    return value


def _second(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 43_200:
        raise argparse.ArgumentTypeError("must be 0…43200, the seconds of the measured day")
    return value


def _up(chosen: argparse.Namespace) -> int:
    from gwanje.core.city.up import up

    return up(chosen)


def _status(chosen: argparse.Namespace) -> int:
    from gwanje.core.city.live import print_status

    return print_status(*attached(chosen), as_json=chosen.json)


def _check(chosen: argparse.Namespace) -> int:
    from gwanje.core.site.check import check_site
    from gwanje.core.site.summary import summary

    site = check_site(chosen.site, chosen.data)
    for line in summary(chosen.site, site):
        print(line)
    return 0


def _hmi(chosen: argparse.Namespace) -> int:
    width, _, height = chosen.size.partition("x")
    if not (width.isdigit() and height.isdigit() and 320 <= int(width) <= 16_384 and 240 <= int(height) <= 16_384):
        raise CommandError(f"--size {chosen.size!r} is not WIDTHxHEIGHT, at least 320x240")
    site, run_dir, _info = attached(chosen)
    run = entry("gwanje.hmi.main:run_hmi")
    return int(run(site, run_dir, chosen.display, (int(width), int(height)), chosen.lang, chosen.screenshot))


def _query(chosen: argparse.Namespace) -> int:
    return int(entry("gwanje.historian.query:command")(history_of(chosen), chosen.sql, chosen.format, chosen.out))


def _play(chosen: argparse.Namespace) -> int:
    if not chosen.file.is_file():
        raise CommandError(f"{chosen.file} is not a file")
    site, run_dir, _info = attached(chosen)
    names = [node.name for node in site.nodes]
    if chosen.node not in names:
        raise CommandError(f"no node {chosen.node!r}; the site has {', '.join(names)}")
    bus = Bus(run_dir, "cli", SystemClock())
    message = {"op": "play", "file": str(chosen.file.resolve()), "node": chosen.node, "snr_db": chosen.snr}
    answer = bus.request("simsound", message, timeout_ms=10_000)
    bus.close()
    print(f"playing {chosen.file.name} at {chosen.node}: {answer.get('duration_s', 0.0):.2f} s, {chosen.snr:g} dB SNR")
    return 0


def _bench(chosen: argparse.Namespace) -> int:
    from gwanje.core.bench import BenchOptions
    from gwanje.core.bench_report import measure

    areas = chosen.area or list(BENCHES)
    for area in areas:
        if area not in BENCHES:
            raise CommandError(f"no bench {area!r}; there are {', '.join(BENCHES)}")
    options = BenchOptions(peers=chosen.peers, rounds=chosen.rounds, seconds=chosen.seconds)
    return measure({area: entry(BENCHES[area]) for area in areas}, options, chosen.json)



if __name__ == "__main__":
    sys.exit(main())
