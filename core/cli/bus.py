"""``gwanje bus``: what travels on the bus now, how much of it is lost, and how long it takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gwanje.core.authority.keys import Bundle, KeysError
from gwanje.core.bus.bus import Bus, RequestTimeoutError, Subscriber
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.remote.client import RemoteBus
from gwanje.core.remote.settings import PUBLISH_PORT, REQUEST_PORT

POLL_MS = 50


def add(commands: Commands) -> None:
    """Add the command."""
    bus = commands.add("bus", _bus, "topics on the bus with rates, gaps and latencies, once a second")
    bus.add_argument("--for", dest="for_s", type=float, metavar="S", help="end after S seconds (default: at Ctrl-C)")
    bus.add_argument("--topic", default="", help="only topics that begin so")
    bus.add_argument("--json", action="store_true", help="one JSON object a second")
    bus.add_argument("--bundle", type=Path, metavar="FILE", help="from another machine, with the keys in this bundle")
    bus.add_argument("--host", default="127.0.0.1", help="the city's machine, with --bundle")
    bus.add_argument("--publish-port", type=int, default=PUBLISH_PORT)
    bus.add_argument("--request-port", type=int, default=REQUEST_PORT)
    with_site(bus)


def _bus(chosen: argparse.Namespace) -> int:
    if chosen.for_s is not None and not 0 < chosen.for_s < 1e9:
        raise CommandError("--for must be a positive number of seconds")
    clock = SystemClock()
    if chosen.bundle is None:
        site, run_dir, _info = attached(chosen)
        local = Bus(run_dir, "cli", clock, site.tags.n)
        return _watch(chosen, clock, local.subscriber([chosen.topic]), local)
    try:
        bundle = Bundle.read(chosen.bundle)
    except KeysError as error:
        raise CommandError(str(error)) from None
    remote = RemoteBus(bundle, chosen.host, clock, publish_port=chosen.publish_port, request_port=chosen.request_port)
    subscriber = remote.subscriber([chosen.topic])
    try:
        remote.measure_clock()
    except RequestTimeoutError:
        remote.close()
        raise
    return _watch(chosen, clock, subscriber, remote)


def _watch(chosen: argparse.Namespace, clock: SystemClock, subscriber: Subscriber, bus: Bus | RemoteBus) -> int:
    began = clock.mono_ns()
    next_second = began + NS_PER_S
    known: dict[Any, int] = {}
    end = None if chosen.for_s is None else began + int(chosen.for_s * NS_PER_S)
    try:
        while end is None or clock.mono_ns() < end:
            subscriber.poll(POLL_MS)
            while subscriber.receive() is not None:
                if clock.mono_ns() >= next_second:
                    break  # where more arrives than is read, the seconds are told all the same
            if clock.mono_ns() >= next_second:
                next_second += NS_PER_S
                known = _tell(chosen.json, subscriber, known, (clock.mono_ns() - began) / NS_PER_S)
    finally:
        subscriber.close()
        bus.close()
    return 0


def _tell(as_json: bool, subscriber: Subscriber, known: dict[Any, int], elapsed_s: float) -> dict[Any, int]:
    """Print the streams; returns how much each had received."""
    rows = subscriber.streams.rows()
    counters = subscriber.counters
    for row in rows:
        row["per_s"] = int(row["received"]) - known.get((row["part"], row["topic"]), 0)
    if as_json:
        line = {"t_s": round(elapsed_s, 1), "refused": counters.refused, "replayed": counters.replayed, "streams": rows}
        print(json.dumps(line), flush=True)
    else:
        print(f"{elapsed_s:.0f} s   refused {counters.refused}, of them replayed {counters.replayed}")
        print(f"  {'part':10} {'topic':20} {'/s':>6} {'gaps':>6} {'p50 µs':>9} {'p99 µs':>9} {'max µs':>9}")
        for row in rows:
            print(
                f"  {row['part']:10} {row['topic']:20} {row['per_s']:6} {row['gaps']:6} "
                f"{row['p50_us']:9} {row['p99_us']:9} {row['max_us']:9}"
            )
    return {(row["part"], row["topic"]): int(row["received"]) for row in rows}
