"""Random days at two consoles: kills, full disks, stepping clocks; what must never happen never does."""

import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Accepted, Command, Refused, to_message
from gwanje.core.commands.operations import Operations, Second
from gwanje.core.commands.operations_table import RESERVED_S, SECOND_S
from gwanje.core.journal.chain import read
from gwanje.core.journal.verify import verify
from gwanje.core.requests import Code

from .world import BREAKER, CLOSED, IMPORT, LIMIT, S, World, plant

SESSIONS = ["kim/operator/desk 1", "kim/operator/desk 2", "lee/operator/desk 3", "park/supervisor/desk 4"]
POINTS = [BREAKER, IMPORT, LIMIT]
VALUES = {BREAKER: [0.0, 1.0], IMPORT: [1e5, 1.5e5], LIMIT: [0.5, 0.7]}
YEAR = 365 * 86_400 * S


def operations() -> Operations:
    """The breaker takes two persons; nothing is slowed down by cool-downs, so that more happens."""
    made = dict(plant().by_point)
    made[BREAKER] = replace(made[BREAKER], second=Second.TWO_PERSON, cool_down_s=0.0)
    return Operations(made)


class Core(World):
    """A core whose every forwarded command is held against the rules."""

    machine: "Consoles"

    def forward(self, owner: str, command: Command) -> None:
        requested = [one.data for one in read(self.path) if one.kind == "command_requested"]
        assert any(one["command_id"] == command.command_id for one in requested), "in the journal before it leaves"
        self.machine.left(command)
        self.forwarded.append((owner, command))


class Consoles(RuleBasedStateMachine):
    """People at consoles, programs, a plant, and somebody who kills the core."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = VirtualClock(mono_ns=1_000 * S)
        self.reserved: dict[str, tuple[str, str, int, float]] = {}
        """select id → session, point, until, checked value: what the core has promised."""
        self.awaiting: dict[str, tuple[str, int]] = {}
        """Command → session of its author, and until when it waits for a second person."""
        self.left_ids: list[str] = []
        self.asking = ("", "", 0.0)
        self.messages: list[dict[str, Any]] = []
        self.number = 0
        self.core = self.start()

    def start(self) -> Core:
        core = Core(self.folder, self.clock, operations=operations())
        core.machine = self
        for name, value in ((CLOSED, 1.0), ("grid.tie.import_w", 0.0), (IMPORT, 1e5), (LIMIT, 1.0)):
            core.show(name, value)
        return core

    def teardown(self) -> None:
        self.core.journal.close()
        assert verify(self.core.path).ok
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------ what must hold

    def left(self, command: Command) -> None:
        """The core sends a command: was it allowed to?"""
        now = self.clock.mono_ns()
        assert command.command_id not in self.left_ids, "never twice, also not after a kill"
        assert now < command.expires_mono_ns, "nothing leaves after its expiry"
        assert not self.core.disk_full, "nothing leaves without the journal"
        self.left_ids.append(command.command_id)
        if command.role == "program":
            return
        kind, who, value = self.asking
        if kind == "second":
            author, until = self.awaiting.pop(command.command_id)
            assert now < until
            assert who.split("/")[0] != author.split("/")[0], "another person"
            return
        session, point, until, checked = self.reserved.pop(kind)
        assert (session, point, checked) == (who, command.point, value), "exactly what this session checked"
        assert command.value == value
        assert now < until, "under a reservation that stands"
        assert point != BREAKER, "the breaker waits for its second person"

    @invariant()
    def one_session_has_a_group(self) -> None:
        now = self.clock.mono_ns()
        held: dict[str, set[str]] = {}
        for session, point, until, _checked in self.reserved.values():
            if until > now:
                held.setdefault(operations().by_point[point].key, set()).add(session)
        assert all(len(sessions) == 1 for sessions in held.values()), "two consoles never hold one thing"

    # ------------------------------------------------------------ what happens

    @rule(session=st.sampled_from(SESSIONS), point=st.sampled_from(POINTS))
    def select(self, session: str, point: str) -> None:
        answer = self.core.request("select", session, point=point)
        if answer["outcome"] == "selected":
            key = operations().by_point[point].key
            mine = {
                one: kept for one, kept in self.reserved.items()
                if not (kept[0] == session and operations().by_point[kept[1]].key == key)
            }  # fmt: skip
            until = answer["until_mono_ns"]
            assert until == self.clock.mono_ns() + RESERVED_S * S
            self.reserved = {**mine, answer["select_id"]: (session, point, until, math.nan)}

    @rule(data=st.data(), session=st.sampled_from(SESSIONS))
    def check(self, data: st.DataObject, session: str) -> None:
        if not self.reserved:
            return
        select_id = data.draw(st.sampled_from(list(self.reserved)))
        owner, point, until, _checked = self.reserved[select_id]
        value = data.draw(st.sampled_from(VALUES[point]))
        answer = self.core.request("check", session, select_id=select_id, value=value)
        if answer["outcome"] == "checked":
            assert session == owner
            assert self.clock.mono_ns() < until
            self.reserved[select_id] = (owner, point, until, value)

    @rule(
        data=st.data(), session=st.sampled_from(SESSIONS), seen_age_s=st.sampled_from([0.0, 0.0, 0.0, 1.9, 2.1]),
        age_s=st.sampled_from([0.0, 0.0, 4.9, 5.0, 9.0]),
    )  # fmt: skip
    def execute(self, data: st.DataObject, session: str, seen_age_s: float, age_s: float) -> None:
        if not self.reserved:
            return
        select_id = data.draw(st.sampled_from(list(self.reserved)))
        owner, point, _until, _checked = self.reserved[select_id]
        value = data.draw(st.sampled_from(VALUES[point]))
        self.number += 1
        now = self.clock.mono_ns()
        view = {BREAKER: CLOSED}.get(point, point)
        selected = {
            "select_id": select_id, "unit": "", "point": point, "seen_value": self.core.values[view].value
        }  # fmt: skip
        self.asking = (select_id, session, value)
        command_id = f"p{self.number}"
        answer = self.core.execute(
            selected, value, session, command_id=command_id, seen_mono_ns=now - round(seen_age_s * S),
            issued_mono_ns=now - round(age_s * S), expires_mono_ns=now - round(age_s * S) + 5 * S,
        )  # fmt: skip
        if answer == {}:
            assert seen_age_s <= 2.0
            assert age_s < 5.0
            assert self.left_ids[-1] == command_id
        elif answer["outcome"] == "awaiting_second":
            assert session == owner
            for old in [one for one, kept in self.awaiting.items() if kept[0] == session]:
                del self.awaiting[old]
            self.awaiting[command_id] = (session, now + round(SECOND_S * S))
            del self.reserved[select_id]
        else:
            assert answer["outcome"] in ("refused", "expired")
            if self.core.disk_full and answer["outcome"] == "refused":
                assert answer["code"]

    @rule(data=st.data(), session=st.sampled_from(SESSIONS))
    def second(self, data: st.DataObject, session: str) -> None:
        known = [*self.awaiting, *(one for one in self.left_ids if one.startswith("p"))]
        if not known:
            return
        self.asking = ("second", session, 0.0)
        before = set(self.left_ids)
        value = data.draw(st.sampled_from(VALUES[BREAKER]))
        command_id = data.draw(st.sampled_from(known))
        self.core.request("second", session, command_id=command_id, point=BREAKER, value=value)
        if command_id in self.left_ids and command_id not in before:
            assert self.core.forwarded[-1][1].value == value, "exactly what the second person agreed to"

    @rule(data=st.data(), session=st.sampled_from(SESSIONS))
    def cancel(self, data: st.DataObject, session: str) -> None:
        if not self.reserved:
            return
        select_id = data.draw(st.sampled_from(list(self.reserved)))
        if self.core.request("cancel", session, select_id=select_id)["outcome"] == "cancelled":
            assert self.reserved.pop(select_id)[0] == session

    @rule(again=st.booleans(), value=st.sampled_from([1e5, 2e5]))
    def program(self, again: bool, value: float) -> None:
        """A program writes; now and then somebody sends its message once more."""
        self.asking = ("", "", 0.0)
        if not again or not self.messages:
            self.number += 1
            now = self.clock.mono_ns()
            self.messages.append({
                "op": "write", "command_id": f"w{self.number}", "point": LIMIT, "value": value / 2e5, "unit": "",
                "session": "planner/program", "reason": "plan", "issued_mono_ns": now, "issued_utc_ns": 0,
                "expires_mono_ns": now + 20 * S,
            })  # fmt: skip
        self.core.server.handle(self.messages[-1], self.core.replies.append)

    @rule(takes=st.booleans())
    def owner_answers(self, takes: bool) -> None:
        if self.core.forwarded:
            command_id = self.core.forwarded[-1][1].command_id
            answer = Accepted(command_id) if takes else Refused(Code.OWNER, "no", command_id)
            self.core.server.finished(command_id, to_message(answer))

    @rule(value=st.sampled_from([0.0, 1.0]))
    def breaker_moves(self, value: float) -> None:
        self.core.show(CLOSED, value)

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 20.0, 31.0]), busy=st.booleans())
    def time_passes(self, seconds: float, busy: bool) -> None:
        """A busy core may come to its own step late: what has expired has expired all the same."""
        self.clock.advance_ns(round(seconds * S))
        if not busy:
            self.core.server.step()
        now = self.clock.mono_ns()
        if not busy:
            self.reserved = {one: kept for one, kept in self.reserved.items() if kept[2] > now}

    @rule(step=st.sampled_from([3600 * S, -3600 * S, YEAR, -YEAR]))
    def clock_steps(self, step: int) -> None:
        self.clock.step_utc_ns(step)

    @rule(full=st.booleans())
    def disk_fills(self, full: bool) -> None:
        self.core.disk_full = full

    @rule()
    def killed(self) -> None:
        """A new core takes up what the killed one left on the disk; reservations are gone with it."""
        old = self.core
        old.journal.close()
        self.core = self.start()
        self.core.values = old.values
        self.core.server.take_up(old.state, old.safety)
        self.reserved, self.awaiting = {}, {}

    @initialize()
    def begin(self) -> None:
        assert self.core.request("operations") == {"selected": [], "running": [], "recent": []}


TestConsoles = Consoles.TestCase
TestConsoles.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
