"""Commands as an operator gives them: select, check, execute, accepted by the owner, through a running core.

Console, core and owner are three processes on the run's own sockets; the core's journal lies on a real disk. The time
runs from the selection's request to the owner's acceptance, and a person's time between the steps is left out.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, median, per_round, result
from gwanje.core.benches import town as towns
from gwanje.core.benches.children import BenchError
from gwanje.core.benches.town import Town, point_name
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.messages import EXPIRES_S_DEFAULT, SERVICE, new_id
from gwanje.core.journal.chain import read

COMMANDS = 200
"""Of one round: the 99 % quantile stands on two of them, that of all rounds on ten."""
POINTS = 250
"""Operated in turn, so that no point's rate limit is met."""
REASON = "measurement"
_ENTRY, _PLACE_BYTES = b"x" * 400, 1 << 20


class Operator:
    """Gives commands one after the other, each to the next point."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._clock = SystemClock()
        self._number = 0
        self.n_points = len(town.site.tags.match("bench.unit*.discharge_setpoint_w"))

    def operate(self) -> tuple[int, int, int]:
        """Nanoseconds from the selection's request to its answer, to the check's, and to the acceptance.

        Raises:
            BenchError: a step was refused.
        """
        clock, town = self._clock, self._town
        point = point_name(self._number % self.n_points)
        self._number += 1
        value = float(self._number)
        begin = clock.mono_ns()
        selected = self._step({"op": "select", "point": point}, "selected")
        chosen = clock.mono_ns()
        select_id = selected["select_id"]
        self._step({"op": "check", "select_id": select_id, "value": value}, "checked")
        checked = clock.mono_ns()
        now = clock.mono_ns()
        answer = town.ask(
            SERVICE,
            {
                "op": "execute", "select_id": select_id, "command_id": new_id(), "value": value, "unit": "W",
                "reason": REASON, "seen_value": selected["value"], "seen_mono_ns": begin, "issued_mono_ns": now,
                "issued_utc_ns": clock.utc_ns(), "expires_mono_ns": now + round(EXPIRES_S_DEFAULT * NS_PER_S),
                "accept_warnings": False,
            },
        )  # fmt: skip
        accepted = clock.mono_ns()
        _expect(answer, "accepted")
        return chosen - begin, checked - begin, accepted - begin

    def _step(self, message: dict[str, Any], outcome: str) -> dict[str, Any]:
        answer = self._town.ask(SERVICE, message)
        _expect(answer, outcome)
        return answer


def _expect(answer: dict[str, Any], outcome: str) -> None:
    if answer.get("outcome") != outcome:
        raise BenchError(f"{outcome} expected: {answer.get('code')} {answer.get('detail')} {answer.get('text_en')}")


def journalled(town: Town) -> int:
    """Commands of the measurement that the journal has."""
    return sum(
        one.kind == "command_requested" and one.data.get("reason") == REASON
        for one in read(town.state_dir / "journal.jsonl")
    )


def sync_ms(folder: Path, times: int) -> list[float]:
    """What this disk takes for a few hundred bytes: the floor of everything that must be on it before it happens."""
    clock, taken = SystemClock(), []
    with open(folder / "sync.bin", "wb", buffering=0) as file:
        file.write(bytes(_PLACE_BYTES))
        os.fsync(file.fileno())
        for turn in range(times):
            begin = clock.mono_ns()
            os.pwrite(file.fileno(), _ENTRY, turn * len(_ENTRY) % _PLACE_BYTES)
            os.fdatasync(file.fileno())
            taken.append((clock.mono_ns() - begin) * 1e-6)
    return taken


def run(options: BenchOptions, commands: int = COMMANDS, points: int = POINTS) -> list[Result]:
    """Latency of whole commands."""
    with ExitStack() as stack:
        town = towns.start(stack, points)
        operator = Operator(town)
        for _ in range(commands // 10 + 1):
            operator.operate()
        watch = Watch()
        rounds, syncs = [], []
        for _ in range(options.rounds):
            rounds.append([operator.operate() for _ in range(commands)])
            syncs.append(sync_ms(town.state_dir, commands))
        given, found = commands * options.rounds + commands // 10 + 1, journalled(town)
    if found != given:
        raise BenchError(f"{given} commands were given, the journal has {found}")
    times = np.array(rounds, dtype=np.float64) * 1e-6
    p99 = [float(np.quantile(one[:, 2], 0.99)) for one in times]
    disk = [float(np.quantile(one, 0.99)) for one in syncs]
    together, half = times.reshape(-1, 3), np.median(times.reshape(-1, 3), axis=0)
    note = (
        f"select, check, execute to the owner's acceptance through a running core: session, one check, journal on a "
        f"disk before it leaves; console, core and owner are processes, none pinned; {commands * options.rounds} "
        f"commands, all in the journal; p99 of each round {min(p99):.2f}…{max(p99):.2f}; medians: selected after "
        f"{half[0]:.2f}, checked {half[1]:.2f}, accepted {half[2]:.2f} ms; beside it 400 bytes synced to the same "
        f"disk by turns, p50 {median([median(one) for one in syncs]):.2f} ms"
    )
    return [
        result("command.select_to_accepted_p99", float(np.quantile(together[:, 2], 0.99)), "ms",
               rounds=options.rounds, goal="<= 5", note=note, watch=watch, peer="one sync of this disk",
               peer_value=median(disk), ratios=per_round(p99, disk)),
        result("command.select_to_accepted_p50", median(list(together[:, 2])), "ms", rounds=options.rounds,
               watch=watch),
    ]  # fmt: skip
