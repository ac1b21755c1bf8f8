"""A small deterministic simulation of the core: a disk that fails in every way a disk can, a network, people, programs.

Everything random comes from ``random.Random(seed)``, everything about time from a ``VirtualClock``: the same seed gives
the same run. Import it as ``from simulation import MemoryDisk, SimulatedCore, seeds``.
"""

import errno
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.ground import REMEMBERED_MAX, Ground
from gwanje.core.commands.leases import TTL_S_MAX, LeaseTable
from gwanje.core.commands.messages import Command
from gwanje.core.commands.operating import PENDING_MAX
from gwanje.core.commands.operations import OperationClass, Operations
from gwanje.core.commands.operations_table import Seen
from gwanje.core.commands.safety_tags import SafetyTags
from gwanje.core.commands.server import CommandServer
from gwanje.core.journal.chain import Entry, JournalLockedError, read, segments_of
from gwanje.core.journal.desk import OWED_MAX, JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.verify import verify
from gwanje.core.journal.writer import Journal
from gwanje.core.requests import Code, RequestError
from gwanje.core.tags.table import Tag, TagTable

SECTOR = 512


class KilledError(BaseException):
    """The process is gone: nobody may handle this but the test."""


def seeds(n: int) -> list[int]:
    """Seeds of a test's runs; ``GWANJE_SEED=7`` runs that one alone, ``GWANJE_SEEDS=500`` more of them."""
    if "GWANJE_SEED" in os.environ:
        return [int(os.environ["GWANJE_SEED"])]
    return list(range(int(os.environ.get("GWANJE_SEEDS", n))))


@dataclass
class MemoryFile:
    """A file as the kernel sees it, as the disk has it, and what lies between."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    """Writes that no sync has waited for; offset -1 stands for a truncation to ``len(bytes)``."""


class MemoryStorage:
    """An open file of a :class:`MemoryDisk`."""

    def __init__(self, disk: "MemoryDisk", file: MemoryFile, reserve: int) -> None:
        self._disk, self._file, self._reserve = disk, file, reserve

    def write(self, at: int, data: bytes) -> None:
        self._disk.operation("write", lambda: self._put(at, data[: self._disk.part_of(at, data)]))
        if at + len(data) > len(self._file.seen) and self._disk.full:
            self._put(at, data[: self._disk.random.randint(0, max(0, len(data) - 1))])
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._reserve and at + len(data) > len(self._file.seen):
            self._put(len(self._file.seen), bytes(at + len(data) + self._reserve - len(self._file.seen)))
        self._put(at, data)

    def _put(self, at: int, data: bytes) -> None:
        seen = self._file.seen
        if at > len(seen):
            seen.extend(bytes(at - len(seen)))
        seen[at : at + len(data)] = data
        self._file.pending.append((at, data))

    def sync(self) -> None:
        self._disk.operation("sync")
        if self._disk.fail_sync:
            self._file.pending.clear()  # as Linux does: the pages count as clean afterwards
            raise OSError(errno.EIO, "Input/output error")
        self._file.kept[:] = self._file.seen
        self._file.pending.clear()

    def truncate(self, size: int) -> None:
        self._disk.operation("truncate")
        del self._file.seen[size:]
        self._file.pending.append((-1, bytes(size)))

    def size(self) -> int:
        return len(self._file.seen)

    def read(self, at: int, size: int) -> bytes:
        return bytes(self._file.seen[at : at + size])

    def close(self) -> None:
        pass


class MemoryDisk:
    """A folder in memory that can be full, fail, lose power, and kill its user at any of its operations."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, MemoryFile] = {}
        self.locked = False
        self.full = False
        self.fail_sync = False
        self.operations: list[str] = []
        self.die_at: int | None = None
        """Index into the operations at which the process is killed; a write is then done in part."""

    def operation(self, name: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count one; the one at which to die is done by half."""
        self.operations.append(name)
        if self.die_at is not None and len(self.operations) > self.die_at:
            half()
            raise KilledError(f"{name}, operation {len(self.operations)}")

    def part_of(self, at: int, data: bytes) -> int:
        """How much of a write that is cut short is done: a single sector is written whole or not at all."""
        if at % SECTOR == 0 and len(data) <= SECTOR:
            return self.random.choice([0, len(data)])
        return self.random.randint(0, len(data))

    # ---- what a journal uses

    def lock(self, name: str) -> None:
        if self.locked:
            raise JournalLockedError(f"{name} is written by another process")
        self.locked = True

    def names(self) -> list[str]:
        return list(self.files)

    def open(self, name: str, reserve: int = 4096) -> MemoryStorage:
        if name not in self.files:
            self.operation("make")
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.files[name] = MemoryFile()
        return MemoryStorage(self, self.files[name], reserve)

    def rename(self, old: str, new: str) -> None:
        self.operation("rename")
        if new in self.files:
            raise OSError(errno.EEXIST, f"{new} is there already")
        self.files[new] = self.files.pop(old)
        self.operation("renamed")

    def digest(self, name: str) -> bytes:
        return hashlib.sha256(self.files[name].seen).digest()

    def close(self) -> None:
        self.locked = False

    # ---- what happens to it

    def kill(self) -> None:
        """The process is gone; the kernel keeps what it was given."""
        self.locked, self.die_at = False, None
        self.operations.clear()

    def cut_power(self) -> None:
        """The machine is gone: of what no sync waited for, any sectors reached the disk, in any order."""
        self.kill()
        for file in self.files.values():
            for at, data in file.pending:
                if at < 0:
                    if self.random.random() < 0.5:
                        del file.kept[len(data) :]
                    continue
                for start in range(0, len(data), SECTOR):
                    if self.random.random() < 0.5:
                        part = data[start : start + SECTOR]
                        if at + start > len(file.kept):
                            file.kept.extend(bytes(at + start - len(file.kept)))
                        file.kept[at + start : at + start + len(part)] = part
            file.seen[:] = file.kept
            file.pending.clear()

    def dump(self, folder: Any) -> None:
        """Write all files as they are seen, for ``verify`` to look at."""
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, file in self.files.items():
            (folder / name).write_bytes(file.seen)


# ---------------------------------------------------------------- a core with a world around it

S = 1_000_000_000
TAGS = TagTable.build(
    [
        *(Tag(f"jincheon.ess{n}.discharge_setpoint_w", "W", "field", "setpoint", -5e5, 5e5) for n in range(1, 5)),
        *(Tag(f"eumseong.pv{n}.limit_w", "W", "field", "setpoint", 0.0, 1e6) for n in range(1, 3)),
        Tag("control.tie.import_setpoint_w", "W", "control", "parameter", -1e6, 1e6),
        Tag("grid.tie.import_w", "W", "field", "measurement", -3e6, 3e6),
    ]
)
POINTS = tuple(tag.name for tag in TAGS if tag.kind != "measurement")
LEASES: Mapping[str, tuple[str, ...]] = {"tie_line": POINTS[:5], "pv": POINTS[3:6]}
OUTCOMES = ("command_accepted", "command_confirmed", "command_refused", "command_timed_out", "command_expired")
OWNER_WAITS_NS = 8 * S // 10
"""As the forwarder of the running core: an owner that has not answered by then counts as silent."""


@dataclass
class Faults:
    """How often, of all that could go wrong, what goes wrong; 0 for never."""

    lost: float = 0.05
    twice: float = 0.1
    replayed: float = 0.05
    late_s: float = 2.0
    silent_owner: float = 0.1
    full_disk: float = 0.05
    failing_sync: float = 0.02
    killed: float = 0.01
    power_cut: float = 0.003
    wall_steps: bool = True
    unkept: float = 0.03
    """How often a spell begins in which the state cannot be saved."""
    storm: float = 0.01
    """How often hundreds of entries about something else are written at once."""
    not_theirs: float = 0.05
    """How often the area is somebody else's."""


class SimulatedCore:
    """Command server, leases, safety tags and journal of a core; people, programs, owners and a network around it.

    ``run`` lets time pass in small steps; whatever breaks an invariant raises AssertionError at the moment it does.
    ``trace`` is what the field saw: it must not depend on the wall clock.
    """

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.seed, self.faults = seed, faults or Faults()
        self.random, self.wall, self.unkept = random.Random(seed), random.Random(~seed), random.Random(seed + 0.5)
        self.disk, self.clock, self.boot = MemoryDisk(seed), VirtualClock(mono_ns=1_000 * S), 0
        self.network: list[tuple[int, int, Callable[[], None]]] = []
        self.captured: list[dict[str, Any]] = []
        self.forwarded: dict[str, Command] = {}
        self.covered: dict[str, int] = {}
        self.held: dict[str, set[str]] = {}
        """Point → people's commands for it that left and were not refused: no lease has it until it is given back."""
        self.lease_ids: dict[str, str] = {}
        self.kept_state: str | None = None
        self.kept_safety: str | None = None
        self.kept_gate: str | None = None
        self.gate_shown, self.state_full = True, False
        self.trace: list[tuple[Any, ...]] = []
        self.outcomes: list[str] = []
        self.told_accepted: set[str] = set()
        self.n = self.restarts = 0
        self._start()

    # ---- the core's life

    def _start(self) -> None:
        self.journal = Journal(self.disk, "journal.jsonl", self.clock)
        self.desk = JournalDesk(self.journal)
        self.ground = Ground(
            TAGS, OPERATIONS, SafetyTags(), self.desk, self.clock, self, self, f"boot{self.boot}"
        )  # fmt: skip
        self.server = CommandServer(self.ground, LeaseTable(LEASES), read_only=False)
        state = None if self.kept_state is None else json.loads(self.kept_state)
        safety = None if self.kept_safety is None else json.loads(self.kept_safety)
        gate = None if self.kept_gate is None else json.loads(self.kept_gate)
        self.server.take_up(state, safety, gate=gate)

    def restart(self, power: bool) -> None:
        """Kill the core, or cut the machine's power; start it again."""
        self.restarts += 1
        self.disk.full = self.disk.fail_sync = False
        if power:
            self.disk.cut_power()
            self.boot += 1
            self.clock = VirtualClock(self.clock.utc_ns(), 1_000 * S + self.random.randint(0, S))
            self.network.clear()
            self.covered, self.kept_state, self.held, self.lease_ids = {}, None, {}, {}
        else:
            self.disk.kill()
            self.network = [one for one in self.network if self.random.random() < 0.7]
        self.trace.append(("restart", power))
        self._start()

    def run(self, steps: int) -> None:
        """Let things happen."""
        for _ in range(steps):
            try:
                self._step()
            except KilledError:
                self.restart(power=self.random.random() < self.faults.power_cut / (self.faults.killed or 1.0))

    def _step(self) -> None:
        faults, chance = self.faults, self.random.random
        self.clock.advance_ns(self.random.randint(1, 300_000_000))
        if faults.wall_steps and self.wall.random() < 0.1:
            self.clock.step_utc_ns(self.wall.choice([1, -1]) * self.wall.choice([3_600, 31_536_000]) * S)
        self.disk.full, self.disk.fail_sync = chance() < faults.full_disk, chance() < faults.failing_sync
        if chance() < faults.killed:
            self.disk.die_at = len(self.disk.operations) + self.random.randint(0, 12)
        if chance() < 0.6:
            self._somebody_asks()
        self.state_full = self.unkept.random() < (0.9 if self.state_full else faults.unkept) and faults.unkept > 0
        if self.unkept.random() < faults.storm:
            for _ in range(300):
                self.desk.note(EntryKind.ALARM_CHANGED, alarm_id="grid.frequency", reason="x" * 200)
        self._deliver()
        self.server.look()
        if chance() < 0.5:
            self.server.step()
            self.desk.step()
        self._check_bounds()

    def _deliver(self) -> None:
        self.network.sort(key=lambda one: one[:2])
        while self.network and self.network[0][0] <= self.clock.mono_ns():
            self.network.pop(0)[2]()

    def send(self, deliver: Callable[[], None], late_s: float | None = None) -> None:
        """Hand something to the network: it comes late, never, or twice."""
        chance, late = self.random.random, self.faults.late_s if late_s is None else late_s
        for _ in range(1 + (chance() < self.faults.twice)):
            if chance() >= self.faults.lost:
                self.n += 1
                self.network.append((self.clock.mono_ns() + round(chance() ** 3 * late * S), self.n, deliver))

    # ---- who asks

    def _somebody_asks(self) -> None:
        choose = self.random
        if self.captured and choose.random() < self.faults.replayed:
            message = choose.choice(self.captured)
        else:
            message = choose.choice(
                [self._write, self._write, self._write, self._lease, self._renew, self._renew, self._other]
            )()
            self.captured.append(message)
            del self.captured[:-50]
        self.send(lambda: self._ask(message))

    def _ask(self, message: Mapping[str, Any]) -> None:
        before = dict(self.held)
        if message["op"] == "give_back":
            for point in message["points"]:
                self.held.pop(point, None)  # the leases have them before the reply is out
        replies: list[Mapping[str, Any]] = []
        self.server.handle(message, lambda reply: (replies.append(reply), self._replied(message, reply)))
        if message["op"] == "give_back" and replies[0].get("outcome") != "released":
            self.held = before

    def _session(self, who: str) -> str:
        return f"{who}/{self.boot}"

    def _write(self) -> dict[str, Any]:
        self.n += 1
        now, choose = self.clock.mono_ns(), self.random
        person = choose.random() < 0.6
        who = choose.choice(["kim/operator", "lee/engineer"] if person else ["control/program", "market/program"])
        return {
            "op": "write", "command_id": f"c{self.seed}-{self.n}", "point": choose.choice(POINTS),
            "value": float(choose.randint(0, 1000)), "unit": "W", "session": self._session(who), "reason": "test",
            "issued_mono_ns": now, "issued_utc_ns": self.clock.utc_ns(),
            "expires_mono_ns": now + choose.choice([1, 5, 60, 61]) * S, "seen_mono_ns": now, "seen_value": 0.0,
        }  # fmt: skip

    def _lease(self) -> dict[str, Any]:
        name = self.random.choice(list(LEASES))
        return {
            "op": "lease", "name": name, "points": list(LEASES[name]), "ttl_s": self.random.choice([1.0, 5.0, 30.0]),
            "session": self._session("control/program"), "reason": "balance",
        }  # fmt: skip

    def _renew(self) -> dict[str, Any]:
        name = self.random.choice(list(LEASES))
        op = "release" if self.random.random() < 0.1 else "renew"
        return {
            "op": op, "name": name, "lease_id": self.lease_ids.get(name, "none"),
            "session": self._session("control/program"),
        }  # fmt: skip

    def _other(self) -> dict[str, Any]:
        choose = self.random
        session = self._session("lee/engineer")
        match choose.randrange(3):
            case 0:
                return {"op": "give_back", "session": session, "points": [choose.choice(POINTS)], "reason": "done"}
            case 1:
                return {"op": "gate", "session": session, "read_only": choose.random() < 0.2, "reason": "test"}
        return {"op": "gate", "session": session, "read_only": False, "reason": "test"}

    def _replied(self, message: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
        outcome = str(reply.get("outcome"))
        if outcome == "accepted":
            self.told_accepted.add(str(message["command_id"]))
        self.outcomes.append(f"{message['op']} {outcome} {reply.get('code', '')}".strip())
        if message["op"] == "lease" and outcome == "granted":
            self.lease_ids[message["name"]] = reply["lease_id"]

    # ---- the core's outside

    def principal(self, message: Mapping[str, Any]) -> Principal:
        name, role, boot = str(message.get("session", "")).split("/")
        if int(boot) != self.boot:
            raise RequestError(Code.SESSION_OVER, "")  # tokens are made anew with every run
        return Principal(name, Role(role), f"s-{name}")

    def witness_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        return None

    def present(self, who: Principal) -> Principal | None:
        return who

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        theirs = principal.is_program or self.unkept.random() >= self.faults.not_theirs
        return None if theirs else (Code.AREA_NOT_HELD, point)

    def samples(self, names: Iterable[str]) -> Mapping[str, Seen]:
        return {name: Seen(0.0, 0, self.clock.mono_ns()) for name in names}

    def save(self, state: Mapping[str, Any]) -> None:
        self._may_fail()
        self.kept_state = json.dumps(state)

    def _may_fail(self) -> None:
        if self.state_full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def show_gate(self, closed: bool) -> None:
        self.gate_shown = closed

    def save_gate(self, state: Mapping[str, Any]) -> None:
        self._may_fail()
        self.kept_gate = json.dumps(state)

    def save_safety(self, state: Mapping[str, Any]) -> None:
        self.kept_safety = json.dumps(state)

    def lease_changed(self, name: str, until_mono_ns: int) -> None:
        pass

    def announce(self, *_: Any) -> None:
        pass

    def cover(self, until_mono_ns: Mapping[str, int]) -> None:
        """Invariants 3 and 9 of a lease: bounded in time, in the journal, and never what a person holds."""
        now = self.clock.mono_ns()
        granted = [line for line in self.durable() if b'"kind":"lease_granted"' in line]
        for point, until in until_mono_ns.items():
            assert until <= now + round(TTL_S_MAX * S), f"seed {self.seed}: {point} is covered too far ahead"
            assert any(f'"{point}"'.encode() in line for line in granted), (
                f"seed {self.seed}: {point} is covered without a journalled lease"
            )
            if until > now:
                assert not self.held.get(point), f"seed {self.seed}: {point} is covered although a person holds it"
        self.covered = dict(until_mono_ns)
        self.trace.append(("cover", tuple(sorted(until_mono_ns.items()))))

    def forward(self, owner: str, command: Command) -> None:
        """Invariants 3 and 9 of a command: in the journal before it leaves, once, and in time."""
        now, told = self.clock.mono_ns(), f"seed {self.seed}: {command.command_id}"
        mark = f'"command_id":"{command.command_id}"'.encode()
        assert any(mark in line and b'"kind":"command_requested"' in line for line in self.durable()), (
            f"{told} left before the disk had its entry"
        )
        assert command.command_id not in self.forwarded, f"{told} left twice"
        assert now < command.expires_mono_ns <= command.issued_mono_ns + 60 * S, f"{told} left too late or for ever"
        assert not self.gate_shown, f"{told} left through a closed gate"
        self.forwarded[command.command_id] = command
        self.trace.append((now, "forward", command.point, command.value, command.author))
        if command.role is not Role.PROGRAM:
            self.held[command.point] = self.held.get(command.point, set()) | {command.command_id}
            assert self.covered.get(command.point, 0) <= now, f"{told} leaves while a program has its point"
        server = self.server
        answered = [False]

        def answer(outcome: Mapping[str, Any] | None) -> None:
            if not answered[0] and server is self.server:
                answered[0] = True
                if outcome is not None and outcome["outcome"] == "expired":
                    self.held.get(command.point, set()).discard(command.command_id)
                server.finished(command.command_id, outcome)

        def arrive() -> None:
            if self.clock.mono_ns() >= command.expires_mono_ns:
                self.send(lambda: answer({"outcome": "expired"}), 0.1)
            else:
                self.trace.append((self.clock.mono_ns(), "written", command.point, command.value))
                self.send(lambda: answer({"outcome": "accepted"}), 0.1)

        if self.random.random() >= self.faults.silent_owner:
            self.send(arrive, 0.5)
        self.n += 1
        self.network.append((now + OWNER_WAITS_NS, self.n, lambda: answer(None)))

    # ---- what must always hold

    def durable(self) -> list[bytes]:
        """Lines of the journal that a power cut would leave."""
        return b"".join(bytes(self.disk.files[name].kept) for name in self._journal_files()).split(b"\n")

    def _journal_files(self) -> list[str]:
        segments = [one.name for one in segments_of("journal.jsonl", list(self.disk.files))]
        return [*segments, "journal.jsonl"]

    def _check_bounds(self) -> None:
        told = f"seed {self.seed}"
        assert self.server.pending <= PENDING_MAX, told
        assert len(self.ground.seen) <= REMEMBERED_MAX, told
        assert self.desk.owed <= OWED_MAX, told

    def settle(self) -> None:
        """No fault any more: what was under way ends, and a fresh command goes through."""
        self.faults = Faults(0, 0, 0, 0.01, 0, 0, 0, 0, 0, False, 0, 0, 0)
        self.disk.full, self.disk.fail_sync, self.disk.die_at, self.state_full = False, False, None, False
        for _ in range(400):
            self.clock.advance_ns(S // 4)
            self._deliver()
            self.server.step()
            self.desk.step()
        for message in (
            {"op": "gate", "session": self._session("lee/engineer"), "read_only": False, "reason": "settle"},
            {**self._write(), "point": POINTS[-1], "session": self._session("kim/operator"),
             "expires_mono_ns": self.clock.mono_ns() + 5 * S},
        ):  # fmt: skip
            self._ask(message)
        for _ in range(8):
            self.clock.advance_ns(S // 4)
            self._deliver()
            self.desk.step()
        assert self.outcomes[-1] == "write accepted", f"seed {self.seed}: {self.outcomes[-3:]}"

    def check_journal(self, folder: Path) -> list[Entry]:
        """At the end: the chain is whole, and every command that left has its request once and an outcome."""
        self.disk.dump(folder)
        report = verify(folder / "journal.jsonl")
        assert report.ok, f"seed {self.seed}: {report.text()}"
        entries = list(read(folder / "journal.jsonl"))
        for command_id in self.forwarded:
            about = [one for one in entries if one.data.get("command_id") == command_id]
            kinds = [one.kind for one in about]
            assert kinds.count("command_requested") == 1, f"seed {self.seed}: {command_id} {kinds}"
            assert kinds[0] == "command_requested", f"seed {self.seed}: {command_id} {kinds}"
            after = kinds[1:]
            assert any(kind in OUTCOMES for kind in after), f"seed {self.seed}: {command_id} has no outcome: {kinds}"
            if command_id in self.told_accepted and not self.boot:  # a power cut may take 50 ms of what was only told
                assert "command_accepted" in after, f"seed {self.seed}: {command_id} was told accepted: {kinds}"
        return entries


OPERATIONS = Operations({
    point: replace(one, steps=OperationClass.DIRECT, writers=("control", "market"))
    for point, one in Operations.of_tags(TAGS).by_point.items()
})  # fmt: skip
