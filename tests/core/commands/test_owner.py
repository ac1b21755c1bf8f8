"""The last look before a device: nothing but the core's own commands, once, in time, in order and within bounds."""

import hmac
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gwanje.control.command_service import IMPORT_POINT, ControlCommands
from gwanje.control.microgrid.params import SetpointParams
from gwanje.core.authority.principal import Role
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.commands.messages import FORWARD_TIMEOUT_NS, Command
from gwanje.core.commands.owner import REMEMBERED_MAX, Office, seal
from gwanje.core.requests import Code, Refused
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.command_service import CommandService

SECRET, POINT = b"of this run", "a.b.breaker"
TAGS = TagTable.build([
    Tag(POINT, "", "field", "setpoint", low=0, high=1, states=(("열림", "open"), ("닫힘", "closed"))),
    Tag("a.b.set_w", "W", "field", "setpoint", low=-100, high=100), Tag("c.d.set_w", "W", "control", "setpoint"),
    Tag(IMPORT_POINT, "W", "control", "parameter", low=-100, high=100),
])  # fmt: skip


class World:
    """One owner's office, and a core that seals for it."""

    def __init__(self, owner: str = "field", point: str = POINT) -> None:
        self.clock = VirtualClock(mono_ns=1_000 * NS_PER_S)
        self.owner, self.point = owner, point
        self.barred: set[int] = set()
        self.gate_closed = False
        self.taken: list[Command] = []
        self.refuses: Refused | None = None
        self.office = self.made()

    def made(self, read_only: bool = False, secret: bytes = SECRET) -> Office:
        return Office(self.owner, secret, TAGS, self, self.clock, self._take, read_only=read_only)

    def until_mono_ns(self, tag_id: int) -> int:
        return -1 if tag_id in self.barred else 0

    def _take(self, command: Command) -> Refused | None:
        if self.refuses is None:
            self.taken.append(command)
        return self.refuses

    def command(self, command_id: str = "c1", value: float = 1.0, life_s: float = 5.0, **changes: Any) -> Command:
        now = self.clock.mono_ns()
        content = {
            "command_id": command_id, "point": self.point, "value": value, "unit": "", "author": "kim",
            "role": Role.OPERATOR, "area": "", "reason": "why", "issued_mono_ns": now, "issued_utc_ns": 0,
            "expires_mono_ns": now + round(life_s * NS_PER_S),
        }  # fmt: skip
        return Command(**{**content, **changes})

    def sealed(self, command: Command | None = None) -> dict[str, Any]:
        self.clock.advance_ns(1)
        return seal(SECRET, self.owner, command or self.command(), self.clock.mono_ns())

    def code(self, message: dict[str, Any]) -> str:
        answer = self.office.answer(message)
        assert answer["outcome"] in ("accepted", "refused", "expired")
        return str(answer.get("code", answer["outcome"]))


@pytest.fixture
def world() -> World:
    return World()


def services() -> list[Any]:
    """The two parts that own points, each as it answers."""
    field = CommandService(
        "field", [], lambda *_: None, VirtualClock(mono_ns=5), SECRET, TAGS, World(), read_only=False
    )
    world = World("control", IMPORT_POINT)
    commands = ControlCommands(SetpointParams(import_min_w=-9, import_max_w=9), Path("/nowhere/at/all"), lambda: 0.0)
    world.office = Office("control", SECRET, TAGS, world, world.clock, commands.carry_out, read_only=False)
    return [("field", field.answer, lambda: None), ("control", world.office.answer, lambda: commands.chosen.strategy)]


@pytest.mark.parametrize(("owner", "answer", "state"), services(), ids=["field", "control"])
def test_each_owner_refuses_whatever_does_not_come_from_the_core(owner: str, answer: Any, state: Any) -> None:
    world = World(owner, {"field": POINT, "control": IMPORT_POINT}[owner])
    plain, sealed = world.command(author="mallory", role=Role.ADMIN).to_message(), world.sealed()
    forged = seal(b"guessed", owner, world.command(), world.clock.mono_ns())
    for message in (
        plain, {**plain, **sealed}, forged, {"op": "write", "sealed": sealed["sealed"]}, {**sealed, "mac": b""},
        {**sealed, "mac": sealed["mac"][:-1]}, {**sealed, "mac": sealed["mac"].hex()}, {**sealed, "sealed": plain},
        {**sealed, "sealed": None}, {**sealed, "extra": 1}, {},
    ):  # fmt: skip
        assert answer(message)["code"] == "not_from_core"
    assert not state()


def test_every_changed_bit_is_noticed(world: World) -> None:
    sealed = world.sealed()
    for key in ("sealed", "mac"):
        for at in range(len(sealed[key])):
            changed = bytearray(sealed[key])
            changed[at] ^= 1 << at % 8
            assert world.code({**sealed, key: bytes(changed)}) == "not_from_core"
    assert world.taken == []
    assert world.code(sealed) == "accepted"


def test_what_was_taken_once_is_never_taken_again(world: World) -> None:
    first = world.sealed(world.command("c1", life_s=60.0))
    assert world.code(first) == "accepted"
    assert world.code(first) == "replayed"
    for number in range(REMEMBERED_MAX + 1):  # more than ids are remembered
        world.code(world.sealed(world.command(f"n{number}")))
    assert world.code(first) == "replayed"
    assert world.code(world.sealed(world.command(f"n{REMEMBERED_MAX}"))) == "replayed", "an id sent anew is one too"
    world.office = world.made()
    assert world.code(first) == "replayed", "a part that was restarted knows none of it, but when it began"
    assert [one.command_id for one in world.taken].count("c1") == 1


def test_what_overtook_another_makes_the_other_worthless(world: World) -> None:
    older, newer = world.sealed(world.command("c1", 0.0)), world.sealed(world.command("c2", 1.0))
    assert (world.code(newer), world.code(older)) == ("accepted", "replayed")
    assert [one.command_id for one in world.taken] == ["c2"]


def test_what_the_core_has_given_up_is_not_done_later(world: World) -> None:
    late = world.sealed(world.command(life_s=60.0))
    world.clock.advance_ns(FORWARD_TIMEOUT_NS + 1)
    assert world.code(late) == "expiry_not_allowed"
    ahead = seal(SECRET, "field", world.command(), world.clock.mono_ns() + 10 * NS_PER_S)
    assert world.code(ahead) == "expiry_not_allowed"
    assert world.code(world.sealed(world.command("c2"))) == "accepted", "one from the future does not shut the door"


def test_what_is_over_does_nothing(world: World) -> None:
    short = world.sealed(world.command(life_s=0.1))
    world.clock.advance_ns(NS_PER_S // 10)
    assert world.code(short) == "expired"
    assert world.taken == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"role": Role.VIEWER}, Code.ROLE), ({"value": 2.0}, Code.OUT_OF_RANGE), ({"value": 0.5}, Code.OUT_OF_RANGE),
        ({"point": "x.y.z"}, Code.UNKNOWN_POINT), ({"point": "c.d.set_w"}, Code.UNKNOWN_POINT),
        ({"point": "a.b.set_w", "value": -101.0}, Code.OUT_OF_RANGE),
    ],
)  # fmt: skip
def test_even_the_core_is_not_believed_blindly(world: World, changes: dict[str, Any], code: Code) -> None:
    assert world.code(world.sealed(world.command(**changes))) == code
    assert world.taken == []


def test_gate_and_danger_tag_are_the_last_word(world: World) -> None:
    world.barred = {TAGS.index(POINT)}
    assert world.code(world.sealed()) == "safety_tag"
    world.barred, world.gate_closed = set(), True
    assert world.code(world.sealed()) == "read_only"
    world.gate_closed = False
    world.office = world.made(read_only=True)
    assert world.code(world.sealed()) == "read_only"
    assert world.taken == []


def test_a_part_without_the_secret_takes_nothing(world: World) -> None:
    world.office = world.made(secret=b"")
    assert world.code(seal(b"", "field", world.command(), world.clock.mono_ns())) == "not_from_core"
    assert world.office.forged == 1


def test_what_another_owner_got_is_not_taken(world: World) -> None:
    world.clock.advance_ns(1)
    assert world.code(seal(SECRET, "control", world.command(), world.clock.mono_ns())) == "not_from_core"


def test_a_refusal_of_the_device_is_handed_on_and_the_id_is_free(world: World) -> None:
    world.refuses = Refused(Code.OWNER, "not connected")
    answer = world.office.answer(world.sealed())
    assert (answer["code"], answer["detail"], answer["command_id"]) == ("refused_by_owner", "not connected", "c1")
    world.refuses = None
    assert world.code(world.sealed()) == "accepted"


def test_a_seal_over_what_is_no_command_is_refused_in_words(world: World) -> None:
    good = msgpack.unpackb(world.sealed()["sealed"])
    for content in ({}, {**good, "value": "x"}, {**good, "point": ["deep"]}, {**good, "sent_mono_ns": -1}, [1], 5):
        packed = msgpack.packb(content)
        message = {"op": "write", "sealed": packed, "mac": hmac.digest(SECRET, packed, "sha256")}
        assert world.code(message) != "accepted"
    assert world.taken == []
