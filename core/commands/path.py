"""The command path in the running core: the server with its hands — files, shared memory, connections, events."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext
from gwanje.core.clock import boot_id
from gwanje.core.commands import safety_tags as safety_files
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.forwarder import Forwarder
from gwanje.core.commands.ground import Authority, Ground, Reply
from gwanje.core.commands.leases import STATE_BYTES_MAX, LeaseTable
from gwanje.core.commands.messages import Command
from gwanje.core.commands.operations import acts_on
from gwanje.core.commands.operations_table import Seen
from gwanje.core.commands.safety_tags import SafetyTags
from gwanje.core.commands.server import CommandServer
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.site.config import Site
from gwanje.core.state_file import StateFile

LEASE_FILE = "leases.json"
SAFETY_FILE = "safety_tags.json"
GATE_FILE = "gate.json"
GATE_BYTES_MAX = 65_536

LOOK_NS = 20_000_000
"""How often readbacks are looked at while something is under way: a breaker moves in 60 ms."""


class Outside:
    """The command server's hands; see :class:`gwanje.core.commands.ground.Outside`."""

    def __init__(
        self, ctx: PartContext, forwarder: Forwarder, publisher: Publisher, lease_changed: Callable[[str, int], None]
    ) -> None:
        self._ctx = ctx
        self._forwarder = forwarder
        self._publisher = publisher
        self._coverage = LeaseCoverage(ctx.run_dir, ctx.tags.n)
        self._news: list[Event] = []
        self.lease_changed = lease_changed
        self.lease_file = StateFile(ctx.run_dir / LEASE_FILE, STATE_BYTES_MAX)
        self.gate_file = StateFile(ctx.state_dir / GATE_FILE, GATE_BYTES_MAX, durable=True)

    def forward(self, owner: str, command: Command) -> None:
        """Hand a command to its owner."""
        self._forwarder.submit(owner, command)

    def samples(self, names: Iterable[str]) -> Mapping[str, Seen]:
        """What tags say now."""
        wanted = sorted(names)
        read = self._ctx.store.read_many(self._ctx.tags.indices(wanted), self._ctx.clock.mono_ns())
        rows = zip(read.value.tolist(), read.quality.tolist(), read.received_mono_ns.tolist(), strict=True)
        return {name: Seen(*row) for name, row in zip(wanted, rows, strict=True)}

    def cover(self, until_mono_ns: Mapping[str, int]) -> None:
        """Show the drivers which points leases cover."""
        self._coverage.replace({self._ctx.tags.index(point): until for point, until in until_mono_ns.items()})

    def show_gate(self, closed: bool) -> None:
        """Show the drivers whether anything may be written."""
        self._coverage.show_gate(closed)

    def save_gate(self, state: Mapping[str, Any]) -> None:
        """Keep the gate for ever."""
        self.gate_file.save(state)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep leases for a restart."""
        self.lease_file.save(state)

    def save_safety(self, state: Mapping[str, Any]) -> None:
        """Keep safety tags for ever."""
        safety_files.save(self._ctx.state_dir / SAFETY_FILE, state)

    def announce(
        self, kind: str, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Have an event published by :meth:`tell`: who asked is answered first, and the owner is asked before that."""
        utc_ns, mono_ns = self._ctx.clock.utc_ns(), self._ctx.clock.mono_ns()
        self._news.append(Event(kind, source, class_name, utc_ns, mono_ns, text_ko, text_en, data=dict(data or {})))

    def tell(self) -> None:
        """Publish what was announced since the last call; after each request, answer and step."""
        news, self._news = self._news, []
        for event in news:
            self._publisher.event(event)


class CommandPath:
    """Everything of the core that commands need.

    Args:
        ctx: of the part ``core``.
        desk: of the journal.
        publisher: of the part.
        authority: knows who asks and what is theirs.
        lease_changed: shows a lease's tag.
        lease_names: leases that have a tag.
        session_lives: whether a session of that id has not ended.
    """

    def __init__(
        self, ctx: PartContext, desk: JournalDesk, publisher: Publisher, authority: Authority,
        lease_changed: Callable[[str, int], None], lease_names: Iterable[str], session_lives: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._session_lives = session_lives
        self._waiting = select.poll()
        self._forwarder = Forwarder(
            lambda service: ctx.bus.asker(service, self._waiting), ctx.clock, owner_secret(ctx.run_dir),
            lambda: self.server.read_only,
        )
        operations = ctx.site.operations
        self.safety = SafetyTags(acts_on(operations.by_point.values(), fed_by(ctx.site), commanded_as(ctx.site)))
        self._outside = Outside(ctx, self._forwarder, publisher, lease_changed)
        ground = Ground(
            ctx.tags, operations, self.safety, desk, ctx.clock, self._outside, authority, boot_id(),
        )  # fmt: skip
        self.server = CommandServer(ground, LeaseTable(lease_names), read_only=ctx.site.read_only)

    def watch(self, waiting: select.poll) -> None:
        """Have the owners' connections watched by the loop that calls :meth:`serve`; before the first request."""
        self._waiting = waiting

    @property
    def look_ns(self) -> int:
        """How soon :meth:`look` must be called again; 0 when nothing is under way."""
        return LOOK_NS if self.server.busy else 0

    def take_up(self) -> None:
        """Go on where an earlier process was killed."""
        leases = safety = gate = None
        trouble = gate_trouble = ""
        try:
            gate = self._outside.gate_file.load()
        except (OSError, ValueError) as error:
            gate_trouble = str(error)
            self._ctx.log.warning("the gate is not known and stays closed: %s", error)
        try:
            leases = self._outside.lease_file.load()
        except (OSError, ValueError) as error:
            self._ctx.log.warning("leases of the core before are not known: %s", error)
        try:
            safety = safety_files.load(self._ctx.state_dir / SAFETY_FILE)
        except (OSError, ValueError) as error:
            trouble = str(error)
            self._ctx.log.warning("safety tags are not known: %s", error)
        self.server.take_up(leases, safety, trouble, gate, gate_trouble)

    def handle(self, message: Mapping[str, Any], reply: Reply) -> None:
        """Take a request of the service ``command``."""
        self.server.handle(message, reply)
        self._outside.tell()

    def serve(self) -> bool:
        """Take the owners' answers; whether there were any."""
        answers = self._forwarder.answers()
        for command_id, answer in answers:
            self.server.finished(command_id, answer)
        self._outside.tell()
        return bool(answers)

    def look(self) -> None:
        """Look at readbacks."""
        self.server.look()
        self._outside.tell()

    def step(self) -> None:
        """What time alone does, and what ended sessions leave; call it a few times a second."""
        for session_id in self.server.reserving():
            if not self._session_lives(session_id):
                self.server.session_over(session_id)
        self.server.step()
        self._outside.tell()

    def status(self) -> Mapping[str, float]:
        """Values of the status tags that tell of commands."""
        return self.server.status()

    def close(self) -> None:
        """Let go of the connections to the owners."""
        self._forwarder.close()


def fed_by(site: Site) -> dict[str, str]:
    """Set-point → a tag of the device that it drives: a safety tag on the device reaches the set-point too."""
    return {one.tag: one.feedback_tag for device in site.devices for one in device.setpoints}


def commanded_as(site: Site) -> dict[str, str]:
    """A program's order → the command by which people do the same: a safety tag on that reaches the order too."""
    commands = {one.tag for device in site.devices for one in device.commands}
    pairs = {
        one.tag: f"{one.feedback_tag.removesuffix('_order')}_command"
        for device in site.devices
        for one in device.setpoints
        if one.feedback_tag.endswith("_order")
    }
    return {order: command for order, command in pairs.items() if command in commands}

