"""A command server on a virtual clock, with a real journal and a pretended outside; shared by the tests here."""

import json
import tomllib
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.checks import NOTHING
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.leases import LeaseTable
from gwanje.core.commands.messages import Command, from_message, to_message
from gwanje.core.commands.operations import OperationClass, Operations, parse_operations
from gwanje.core.commands.operations_table import Seen
from gwanje.core.commands.safety_tags import SafetyTags
from gwanje.core.commands.server import CommandServer
from gwanje.core.journal.chain import Entry, JournalError, read
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal
from gwanje.core.requests import Code, RequestError
from gwanje.core.site.toml_lines import line_index
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags.table import Tag, TagTable

S = 1_000_000_000
ESS1, ESS2 = "control.ess1.discharge_setpoint_w", "control.ess2.discharge_setpoint_w"
IMPORT = "control.tie.import_setpoint_w"
BREAKER, CLOSED, LIMIT = "grid.breaker.close_command", "grid.breaker.closed", "jincheon.pv.limit"
POSITIONS = (("열림", "open"), ("닫힘", "closed"))
TAGS = TagTable.build(
    [
        Tag(IMPORT, "W", "control", "parameter", -1e6, 1e6, description_ko="목표 수전 전력"),
        Tag(ESS1, "W", "control", "setpoint", -5e5, 5e5),
        Tag(ESS2, "W", "control", "setpoint", -5e5, 5e5),
        Tag("grid.tie.import_w", "W", "field", "measurement", -3e6, 3e6),
        Tag("grid.breaker.close_command", "", "field", "setpoint", 0, 1, states=POSITIONS, description_ko="차단기"),
        Tag("grid.breaker.closed", "", "field", "state", 0, 1, states=POSITIONS),
        Tag("jincheon.pv.limit", "", "field", "setpoint", 0, 1, deadband=0.01),
        Tag("jincheon.pv.generation_w", "W", "field", "measurement", 0, 1e6),
        Tag("system.lease.tie_line_until_s", "s", "core", "state"),
    ]
)

DIRECT = Operations(
    {point: replace(one, steps=OperationClass.DIRECT) for point, one in Operations.of_tags(TAGS).by_point.items()}
)
"""Every point may be written at once: what these tests are about holds for each way to a point."""


PLANT = """
[[operation]]
points = ["grid.breaker.close_command"]
kind = "breaker"
class = "critical"
second = "retype"
readback = "grid.breaker.closed"
group = "connection"
cool_down_s = 2
allowed_when = "grid.tie.import_w > -2000000"
mode_ko = "계측 정상"
mode_en = "metered"

[[operation.interlock]]
id = "heavy"
blocks_when = "grid.tie.import_w > 1500000"
to = [0]
text_ko = "수전 과대"
text_en = "heavy import"

[[operation]]
points = ["control.tie.*"]
writers = ["planner"]
tolerance = 500
view_tolerance = 1000
ramp_per_s = 10000
ramp_waits = true
soft_high = 800000
group = "connection"

[[operation]]
points = ["jincheon.pv.limit"]
writers = ["planner"]
kind = "inverter"
tolerance = 0.01
soft_low = 0.2
"""


def plant(text: str = PLANT) -> Operations:
    """Operations of a site's file."""
    document = Document("operations.toml", tomllib.loads(text), line_index(text))
    operations = parse_operations(document, TAGS)
    assert not document.problems, document.problems
    return operations


class World:
    """A command server on a virtual clock with a real journal and a pretended outside."""

    def __init__(
        self, folder: Path, clock: VirtualClock | None = None, read_only: bool = False,
        operations: Operations | None = None,
    ) -> None:  # fmt: skip
        operations = operations or DIRECT
        self.values: dict[str, Seen] = {}
        self.covered: dict[str, int] = {}
        self.areas: dict[tuple[str, str], tuple[Code, str]] = {}
        self.not_theirs: dict[tuple[str, str], tuple[Code, str]] = {}
        self.now: dict[str, Principal | None] = {}
        """Session id → who it is now; ``None`` for a session that is locked or over."""
        self.path = folder / "journal.jsonl"
        self.clock = clock or VirtualClock(mono_ns=1_000 * S)
        self.journal = Journal.open(self.path, self.clock)
        weakref.finalize(self, self.journal.close)  # hundreds of worlds in a run: their descriptors would add up
        self.disk_full = False
        self.state_full = self.gate_full = False
        self.gate: Mapping[str, Any] | None = None
        self.gate_shown = True
        self.forwarded: list[tuple[str, Command]] = []
        self.until: dict[str, int] = {}
        self.state: Mapping[str, Any] | None = None
        self.announced: list[str] = []
        self.events: list[tuple[str, str, Mapping[str, Any]]] = []
        self.replies: list[dict[str, Any]] = []
        self.desk = JournalDesk(self)
        self.safety: Mapping[str, Any] | None = None
        ground = Ground(TAGS, operations, SafetyTags(), self.desk, self.clock, self, self, "boot")
        self.server = CommandServer(ground, LeaseTable(["tie_line", "lighting"]), read_only=read_only)
        self.server._gate.restore({"closed": False})

    # what the server sees as its journal
    def append(self, kind: EntryKind, **data: Any) -> Entry:
        return self.append_all([(kind, data)])[0]

    def append_all(self, entries: Any) -> list[Entry]:
        if self.disk_full:
            raise JournalError(28, "journal cannot be written: No space left on device")
        return self.journal.append_all(entries)

    def write_all(self, entries: Any) -> list[Entry]:
        if self.disk_full:
            raise JournalError(28, "journal cannot be written: No space left on device")
        return self.journal.write_all(entries)

    def find(self, word: bytes, newest_bytes: int = 1 << 62) -> list[Entry]:
        return self.journal.find(word, newest_bytes)

    @property
    def due_mono_ns(self) -> int | None:
        return self.journal.due_mono_ns

    def step(self) -> None:
        self.journal.step()

    # and as its outside
    def forward(self, owner: str, command: Command) -> None:
        asked = [one.data["command_id"] for one in read(self.path) if one.kind == "command_requested"]
        assert asked[-1] == command.command_id, "it is in the journal before it leaves"
        self.forwarded.append((owner, command))

    def lease_changed(self, name: str, until_mono_ns: int) -> None:
        self.until[name] = until_mono_ns

    def save(self, state: Mapping[str, Any]) -> None:
        if self.state_full:
            raise OSError(28, "No space left on device")
        self.state = json.loads(json.dumps(state))

    def announce(
        self, kind: str, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any] | None = None
    ) -> None:
        assert text_ko
        assert text_en
        self.announced.append(class_name)
        self.events.append((class_name, source, dict(data or {})))

    def samples(self, names: Iterable[str]) -> Mapping[str, Seen]:
        return {name: self.values.get(name, NOTHING) for name in names}

    def cover(self, until_mono_ns: Mapping[str, int]) -> None:
        self.covered = dict(until_mono_ns)

    def show_gate(self, closed: bool) -> None:
        self.gate_shown = closed

    def save_gate(self, state: Mapping[str, Any]) -> None:
        if self.gate_full:
            raise OSError(28, "No space left on device")
        self.gate = json.loads(json.dumps(state))

    def save_safety(self, state: Mapping[str, Any]) -> None:
        if self.state_full:
            raise OSError(28, "No space left on device")
        self.safety = json.loads(json.dumps(state))

    def witness_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        return self.not_theirs.get((principal.name, point))

    def present(self, who: Principal) -> Principal | None:
        return self.now.get(who.session_id, who)

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        return self.areas.get((principal.name, point))

    # and as its authority: everybody is who the session says, as ``kim/operator``
    def principal(self, message: Mapping[str, Any]) -> Principal:
        session = message.get("session", "")
        if not isinstance(session, str) or not session:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        name, role, console = (*session.split("/"), "", "")[:3]
        if role not in list(Role):
            raise RequestError(Code.SESSION_OVER, "")
        return Principal(name, Role(role), f"s-{name}{console}", console)

    # what a test does
    def write(self, **changes: Any) -> Any:
        """Send a good command with changes; the answer, or None while the owner is asked."""
        now = self.clock.mono_ns()
        message: dict[str, Any] = {
            "op": "write", "command_id": f"id{len(self.replies)}-{now}", "point": IMPORT, "value": 300_000.0,
            "unit": "W", "session": "kim/operator", "area": "microgrid", "reason": "evening peak",
            "issued_mono_ns": now, "issued_utc_ns": self.clock.utc_ns(), "expires_mono_ns": now + 5 * S,
            "seen_mono_ns": now, **changes,
        }  # fmt: skip
        return self.ask({key: value for key, value in message.items() if value is not ...})

    def ask(self, message: Mapping[str, Any]) -> Any:
        before = len(self.replies)
        self.server.handle(message, self.replies.append)
        if len(self.replies) == before:
            return None
        return from_message(self.replies[-1])

    def owner_says(self, answer: Any) -> Any:
        command = self.forwarded[-1][1]
        self.server.finished(command.command_id, None if answer is None else to_message(answer))
        return from_message(self.replies[-1])

    def lease(self, **changes: Any) -> Any:
        return self.ask(
            {"op": "lease", "name": "tie_line", "points": [ESS1, ESS2], "ttl_s": 5.0,
             "session": "control/program", "reason": "balance", **changes}
        )  # fmt: skip

    def held(self, op: str, lease_id: str) -> Any:
        """What the holder of ``tie_line`` asks for it."""
        return self.ask({"op": op, "session": "control/program", "name": "tie_line", "lease_id": lease_id})

    # a person at a console
    def show(self, name: str, value: float, quality: int = 0) -> None:
        """A tag reads this now."""
        self.values[name] = Seen(value, quality, self.clock.mono_ns())

    def request(self, op: str, session: str = "kim/operator", **more: Any) -> dict[str, Any]:
        """Ask; the answer's map, empty while the owner is asked."""
        before = len(self.replies)
        self.server.handle({"op": op, "session": session, **more}, self.replies.append)
        return self.replies[-1] if len(self.replies) > before else {}

    def execute(self, selected: Mapping[str, Any], value: float, session: str = "kim/operator", **changes: Any) -> Any:
        """Execute a selection as a careful person would, with changes."""
        now = self.clock.mono_ns()
        message = {
            "select_id": selected["select_id"], "command_id": f"x{len(self.replies)}-{now}", "value": value,
            "unit": selected["unit"], "reason": "plan 7", "seen_value": selected["seen_value"], "seen_mono_ns": now,
            "issued_mono_ns": now, "issued_utc_ns": self.clock.utc_ns(), "expires_mono_ns": now + 5 * S,
            "retyped": selected["point"], "accept_warnings": True, **changes,
        }  # fmt: skip
        return self.request("execute", session, **{key: one for key, one in message.items() if one is not ...})

    def operate(self, point: str, value: float, session: str = "kim/operator", **changes: Any) -> dict[str, Any]:
        """Select, check, execute; the first answer that is not the next step."""
        selected = self.request("select", session, point=point)
        if selected.get("outcome") != "selected":
            return selected
        checked = self.request("check", session, select_id=selected["select_id"], value=value)
        if checked.get("outcome") != "checked":
            return checked
        return self.execute(selected, value, session, **changes)

    def states(self, point: str) -> list[str]:
        """States that were announced of a point's operations."""
        return [one.removeprefix("command_") for one, source, _ in self.events if source == point]

    def after(self, seconds: float) -> None:
        """Let time pass, and the core do what time asks for."""
        self.clock.advance_ns(round(seconds * S))
        self.server.step()

    def kinds(self) -> list[str]:
        return [entry.kind for entry in read(self.path)][1:]
