"""The bus beyond the machine beside its peers: column frames against EPICS pvAccess, one tag against NATS.

Publisher and receiver are processes of their own, on loopback TCP, of ours with CURVE, an allow-list of keys and every
check of a frame. A frame counts when its columns are written into the receiver's columns. Nothing is pinned: each arm
has threads and servers of its own kind, and the system places them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, free_port, median, per_round, program, result
from gwanje.core.benches import bus_ours, bus_peers
from gwanje.core.benches.bus_ours import Keys
from gwanje.core.benches.children import BenchError, Child, in_memory

FLOOD_S = 1.0
"""Of one arm in one round: some ten thousand frames."""
MESSAGES = 1_000
"""One-tag messages of one arm in one round, one a millisecond."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A publisher and a receiver that understand the same two questions.

    The publisher is told ``("flood", seconds)`` or ``("pace", n)``, the receiver ``("flood", seconds)``, answered with
    frames a second, or ``("pace", n)``, answered with latencies in ns.
    """

    publisher: Child
    receiver: Child

    def flood(self, seconds: float) -> float:
        """Frames a second that arrived.

        Raises:
            BenchError: none did.
        """
        taken = float(self._measure("flood", seconds))
        if taken <= 0.0:
            raise BenchError("nothing of a flood arrived")
        return taken

    def pace(self, messages: int) -> list[int]:
        """Latencies in ns.

        Raises:
            BenchError: messages are missing: at one a millisecond none may be.
        """
        taken: list[int] = self._measure("pace", messages)
        if len(taken) < messages:
            raise BenchError(f"{messages - len(taken)} of {messages} paced messages did not arrive")
        return taken

    def _measure(self, what: str, how_much: float) -> Any:
        self.receiver.tell((what, how_much))
        self.publisher.ask((what, how_much))
        return self.receiver.answer()


def _in_rotation(
    arms: dict[str, Arm], rounds: int, measure: Callable[[Arm], Any]
) -> dict[str, list[Any]]:
    """Each arm's figure per round; a round before them warms up."""
    names = list(arms)
    taken: dict[str, list[Any]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            figure = measure(arms[name])
            if turn:
                taken[name].append(figure)
    return taken


def run(options: BenchOptions, seconds: float = FLOOD_S, messages: int = MESSAGES) -> list[Result]:
    """Frames and one-tag messages."""
    return [*frames(options, seconds), *one_tag(options, messages)]


# ---------------------------------------------------------------- column frames


def frames(options: BenchOptions, seconds: float) -> list[Result]:
    """Tags a second of 1000-tag frames, received and applied."""
    missing = "" if importlib.util.find_spec("p4p") else "p4p is not installed"
    watch = Watch()
    with ExitStack() as stack:
        arms = {
            "alike": _ours(stack, "alike"), "mixed": _ours(stack, "mixed"), "relayed": _relayed(stack, "alike"),
        }  # fmt: skip
        if options.peers and not missing:
            arms |= {"p4p": _pva(stack, ""), "p4p deep": _pva(stack, bus_peers.DEEP)}
        taken = _in_rotation(arms, options.rounds, lambda arm: arm.flood(seconds))
    rate = {name: [1e-3 * one for one in some] for name, some in taken.items()}
    peer = f"p4p {importlib.metadata.version('p4p')}" if not missing else "p4p"
    sent = (
        "1000 tags a frame with id, value, quality and time, tcp 127.0.0.1 with CURVE, every check of a frame, written "
        "into columns"
    )
    told = {
        "alike": f"{sent}; one time and one quality for the whole frame, as the peer's array has",
        "mixed": f"{sent}; twenty devices with a time each, one tag in a hundred not GOOD",
        "relayed": "as bus.frames, but as a city runs: through the part remote, a third process between the two",
    }
    carries = (
        "ratio is ours / peer; the peer sends 1000 doubles with one time and one alarm, no ids, no encryption; both "
        "send as fast as they can and what arrives counts"
    )
    if not options.peers or missing:
        why = f"; not measured: {missing or 'run with --peers'}"
        return [_rate(name, rate[name], options, watch, peer, told[name] + why) for name in told]
    return [
        _rate("alike", rate["alike"], options, watch, f"{peer} array", f"{told['alike']}; {carries}", rate["p4p"]),
        _rate("mixed", rate["mixed"], options, watch, f"{peer} array", told["mixed"], rate["p4p"]),
        _rate("relayed", rate["relayed"], options, watch, f"{peer} array", told["relayed"], rate["p4p"]),
        _rate("deep", rate["alike"], options, watch, f"{peer} array, queue of 64, pipelined",
              "as bus.frames, the peer tuned for throughput beyond its defaults", rate["p4p deep"]),
    ]  # fmt: skip


def _rate(
    name: str, ours: Sequence[float], options: BenchOptions, watch: Watch, peer: str, note: str,
    theirs: Sequence[float] = (),
) -> Result:  # fmt: skip
    return result(
        "bus.frames" if name == "alike" else f"bus.frames_{name}", median(ours), "M tags/s", rounds=options.rounds,
        peer=peer, peer_value=median(theirs) if theirs else None, ratios=per_round(ours, theirs) if theirs else (),
        goal=">= 2.5" if name in ("alike", "mixed") else None, of="ratio", note=note, watch=watch,
    )  # fmt: skip


def _ours(stack: ExitStack, kind: str) -> Arm:
    """A publisher straight at a door of CURVE, and a console that was let in."""
    place = stack.enter_context(in_memory())
    keys = Keys.make(place)
    publisher = stack.enter_context(Child(bus_ours.publish, keys, place, kind))
    ports = publisher.hello, free_port()
    return Arm(publisher, stack.enter_context(Child(bus_ours.receive, keys, ports, kind)))


def _local(stack: ExitStack, kind: str) -> Arm:
    """Two parts of a city on the run directory's sockets."""
    place = stack.enter_context(in_memory())
    publisher = stack.enter_context(Child(bus_ours.publish_locally, place, kind))
    return Arm(publisher, stack.enter_context(Child(bus_ours.receive_locally, place, kind)))


def _relayed(stack: ExitStack, kind: str) -> Arm:
    """As a city runs: the publisher on the run directory's sockets, the part ``remote`` between, and a console."""
    place = stack.enter_context(in_memory())
    keys = Keys.make(place)
    ports = (first := free_port()), free_port(first + 1)
    publisher = stack.enter_context(Child(bus_ours.publish_locally, place, kind))
    stack.enter_context(Child(bus_ours.relay, keys, place, ports))
    return Arm(publisher, stack.enter_context(Child(bus_ours.receive, keys, ports, kind)))


def _pva(stack: ExitStack, request: str) -> Arm:
    publisher = stack.enter_context(Child(bus_peers.pva_publish))
    return Arm(publisher, stack.enter_context(Child(bus_peers.pva_receive, publisher.hello, request)))


# ---------------------------------------------------------------- one tag


def one_tag(options: BenchOptions, messages: int) -> list[Result]:
    """Latency of a message with one tag, from when it is stamped until it is written into a column.

    Both sides stamp it when its columns are encoded, before it is sealed and handed to their library.
    """
    server = program("nats-server")
    missing = "" if options.peers else "run with --peers"
    if options.peers and server is None:
        missing = "nats-server is not installed (Debian package nats-server)"
    elif options.peers and not importlib.util.find_spec("nats"):
        missing = "nats-py is not installed"
    watch, version = Watch(), ""
    with ExitStack() as stack:
        arms = {"ours": _ours(stack, "one"), "local": _local(stack, "one"), "relayed": _relayed(stack, "one")}
        if not missing and server is not None:
            address, version = stack.enter_context(bus_peers.nats_server(server, stack.enter_context(in_memory())))
            arms["nats"] = Arm(
                stack.enter_context(Child(bus_peers.nats_publish, address)),
                stack.enter_context(Child(bus_peers.nats_receive, address)),
            )
        taken = _in_rotation(arms, options.rounds, lambda arm: arm.pace(messages))
    p50 = {name: [float(np.quantile(one, 0.5)) * 1e-3 for one in some] for name, some in taken.items()}
    p99 = {name: [float(np.quantile(one, 0.99)) * 1e-3 for one in some] for name, some in taken.items()}
    peer = f"NATS {version} with nats-py {importlib.metadata.version('nats-py')}" if not missing else "NATS"
    note = (
        "ratio is ours / peer; one tag a message, one message a millisecond, tcp 127.0.0.1; both carry the same frame "
        "and decode, check and apply it alike; ours goes straight with CURVE, the peer's through its server unencrypted"
    )
    note += f"; not measured: {missing}" if missing else ""
    theirs = p50.get("nats", [])
    local = "as bus.one_tag_p50, but between two parts of one machine: ipc in the run directory, a sum and no CURVE"
    relayed = "as bus.one_tag_p50, but through the part remote, as the peer's message goes through its server"
    return [
        result("bus.one_tag_p50", median(p50["ours"]), "us", rounds=options.rounds, peer=peer,
               peer_value=median(theirs) if theirs else None, ratios=per_round(p50["ours"], theirs) if theirs else (),
               goal="<= 0.5", of="ratio", note=note, watch=watch),
        result("bus.one_tag_p99", median(p99["ours"]), "us", rounds=options.rounds, peer=peer,
               peer_value=median(p99["nats"]) if theirs else None,
               ratios=per_round(p99["ours"], p99["nats"]) if theirs else (), watch=watch),
        result("bus.one_tag_local_p50", median(p50["local"]), "us", rounds=options.rounds, peer=peer,
               peer_value=median(theirs) if theirs else None,
               ratios=per_round(p50["local"], theirs) if theirs else (), note=local, watch=watch),
        result("bus.one_tag_relayed_p50", median(p50["relayed"]), "us", rounds=options.rounds, peer=peer,
               peer_value=median(theirs) if theirs else None,
               ratios=per_round(p50["relayed"], theirs) if theirs else (), note=relayed, watch=watch),
    ]  # fmt: skip
