"""A conversation with one SNMP agent: what to send, what an answer means, which answers are none. No I/O, no clock.

One question at a time. An answer counts when it is to that question: other ids, second copies, late ones, forged or old
ones are passed over, and the question goes on waiting. In v3 the agent's engine, boots and time are found out first and
followed (RFC 3414 §2.3): a report that the window of time was missed is believed when it is signed, and asked again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from gwanje.io.field.ntcip import ber, snmp, usm

NS_PER_S = 1_000_000_000
ID_MAX = 0x7FFF_FFFF
AGAIN_MAX = 3
"""A question is put again after discovery, after a resynchronisation, and once more; more is sickness."""
ENGINE_ID_MIN = 5

_STATS = "1.3.6.1.6.3.15.1.1"
UNSUPPORTED_LEVEL, NOT_IN_WINDOW, UNKNOWN_USER, UNKNOWN_ENGINE, WRONG_DIGEST, NOT_DECRYPTED = (
    ber.oid(f"{_STATS}.{n}.0") for n in range(1, 7)
)
REPORTS = {
    UNSUPPORTED_LEVEL: "the agent does not sign and cipher",
    NOT_IN_WINDOW: "the agent's time cannot be followed",
    UNKNOWN_USER: "the agent does not know this user",
    UNKNOWN_ENGINE: "another engine answers",
    WRONG_DIGEST: "the key for signing is wrong",
    NOT_DECRYPTED: "the key for ciphering is wrong",
}
"""usmStats objects of reports (RFC 3414 §5) and what they mean for us."""


@dataclass(frozen=True, slots=True)
class Question:
    """Objects that are asked for together; the encoded list is made once.

    Attributes:
        oids: encoded.
        varbinds: see :func:`snmp.question`.
    """

    oids: tuple[bytes, ...]
    varbinds: bytes = field(repr=False)

    @classmethod
    def of(cls, oids: Iterable[bytes]) -> Question:
        """A question for objects, in this order."""
        kept = tuple(oids)
        return cls(kept, snmp.question(kept))

    def halves(self) -> tuple[Question, ...]:
        """Two smaller questions, or this one when it cannot be cut."""
        middle = len(self.oids) // 2
        return (Question.of(self.oids[:middle]), Question.of(self.oids[middle:])) if middle else (self,)


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's response to the question."""

    pdu: snmp.Pdu


@dataclass(frozen=True, slots=True)
class Again:
    """The question has to be put once more, in these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Nothing:
    """Passed over: no answer to the question; the text says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The agent will not talk to us like this; the text says why."""

    reason: str


Heard = Answer | Again | Nothing | Refusal


class Talk(Protocol):
    """One agent's conversation."""

    def ask(self, kind: snmp.Kind, varbinds: bytes, now_mono_ns: int) -> bytes:
        """What to send for a question; the one before is given up."""

    def hear(self, data: bytes, now_mono_ns: int) -> Heard:
        """What a datagram means."""


class CommunityTalk:
    """Version 2c: the community is no secret, so only for loopback and lines of their own.

    Args:
        community: of the agent.
        chance: source of ids.
    """

    def __init__(self, community: str, chance: random.Random) -> None:
        self._community = community.encode()
        self._head = ber.integer(snmp.VERSION_2C) + ber.tlv(ber.OCTETS, self._community)
        self._id = chance.randrange(1, ID_MAX)
        self._waiting = False

    def ask(self, kind: snmp.Kind, varbinds: bytes, now_mono_ns: int) -> bytes:
        """See :class:`Talk`."""
        del now_mono_ns
        self._id = self._id % ID_MAX + 1
        self._waiting = True
        return ber.tlv(ber.SEQUENCE, self._head + snmp.encode_pdu(kind, self._id, varbinds))

    def hear(self, data: bytes, now_mono_ns: int) -> Heard:
        """See :class:`Talk`."""
        del now_mono_ns
        try:
            community, pdu = snmp.decode_v2c(data)
        except ber.BerError as error:
            return Nothing(f"not SNMP: {error}")
        if pdu.kind is not snmp.Kind.RESPONSE or community != self._community:
            return Nothing("not a response of this community")
        if not self._waiting or pdu.request_id != self._id:
            return Nothing("not to this question")
        self._waiting = False
        return Answer(pdu)


@dataclass(slots=True)
class _Engine:
    """What is known of the agent's engine; ``time_s`` was true at ``at_mono_ns``."""

    engine_id: bytes
    keys: usm.Keys
    boots: int
    time_s: int
    at_mono_ns: int

    def now_s(self, now_mono_ns: int) -> int:
        return min(self.time_s + (now_mono_ns - self.at_mono_ns) // NS_PER_S, usm.BOOTS_MAX)

    def is_old(self, message: usm.Message, now_mono_ns: int) -> bool:
        """Whether a signed message is outside the window (RFC 3414 §3.2 7b): a replay, or from before a reboot."""
        if message.boots != self.boots:
            return message.boots < self.boots or message.boots == usm.BOOTS_MAX
        return message.time_s < self.now_s(now_mono_ns) - usm.WINDOW_S

    def follow(self, message: usm.Message, now_mono_ns: int) -> None:
        """Take the time of a signed message over when it is newer than ours."""
        if (message.boots, message.time_s) > (self.boots, self.time_s):
            self.boots, self.time_s, self.at_mono_ns = message.boots, message.time_s, now_mono_ns


class UserTalk:
    """Version 3, always signed and ciphered.

    Args:
        user: with master keys.
        chance: source of ids and of the first salt; a system's randomness outside tests.
    """

    def __init__(self, user: usm.User, chance: random.Random) -> None:
        self._user = user
        self._name = user.name.encode()
        self._id = chance.randrange(1, ID_MAX)
        self._salt = chance.getrandbits(64)
        self._engine: _Engine | None = None
        self._question: tuple[snmp.Kind, bytes] | None = None
        self._tries = 0

    @property
    def engine_id(self) -> bytes:
        """Of the agent; empty before it is known."""
        return self._engine.engine_id if self._engine is not None else b""

    def ask(self, kind: snmp.Kind, varbinds: bytes, now_mono_ns: int) -> bytes:
        """See :class:`Talk`."""
        self._question, self._tries = (kind, varbinds), 0
        return self._put(now_mono_ns)

    def _put(self, now_mono_ns: int) -> bytes:
        assert self._question is not None, "nothing to ask"
        self._id = self._id % ID_MAX + 1
        engine = self._engine
        if engine is None:
            scoped = usm.scoped_pdu(b"", snmp.encode_pdu(snmp.Kind.GET, self._id, snmp.question(())))
            return usm.encode(self._id, usm.REPORTABLE, b"", 0, 0, b"", scoped)
        kind, varbinds = self._question
        scoped = usm.scoped_pdu(engine.engine_id, snmp.encode_pdu(kind, self._id, varbinds))
        self._salt = (self._salt + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return usm.encode(
            self._id, usm.AUTHENTICATED | usm.PRIVATE | usm.REPORTABLE, engine.engine_id, engine.boots,
            engine.now_s(now_mono_ns), self._name, scoped, engine.keys, self._salt.to_bytes(8, "big"),
        )  # fmt: skip

    def hear(self, data: bytes, now_mono_ns: int) -> Heard:
        """See :class:`Talk`."""
        try:
            message = usm.decode(data)
            if self._question is None or message.message_id != self._id:
                return Nothing("not to this question")
            if self._engine is None:
                return self._discovered(message, now_mono_ns)
            return self._heard(self._engine, data, message, now_mono_ns)
        except ber.BerError as error:
            return Nothing(f"not SNMPv3: {error}")
        except usm.SecurityError as error:
            return Nothing(str(error))

    def _discovered(self, message: usm.Message, now_mono_ns: int) -> Heard:
        _, pdu = usm.open_scoped(message.body)
        if pdu.kind is not snmp.Kind.REPORT or len(message.engine_id) < ENGINE_ID_MIN:
            return Nothing("no report of an engine")
        keys = self._user.at(message.engine_id)
        self._engine = _Engine(message.engine_id, keys, message.boots, message.time_s, now_mono_ns)
        return self._again(now_mono_ns, "discovery does not end")

    def _heard(self, engine: _Engine, data: bytes, message: usm.Message, now_mono_ns: int) -> Heard:
        if not message.flags & usm.AUTHENTICATED:
            return self._reported(usm.open_scoped(message.body)[1])
        if message.engine_id != engine.engine_id or message.user != self._name:
            return Nothing("from another engine or user")
        if not message.flags & usm.PRIVATE:
            usm.check_signature(data, message, engine.keys)
            return self._out_of_time(engine, message, usm.open_scoped(message.body)[1], now_mono_ns)
        engine_id, pdu = usm.open_scoped(usm.unlock(data, message, engine.keys))
        if engine.is_old(message, now_mono_ns):
            return Nothing("older than the window of time")
        engine.follow(message, now_mono_ns)
        if pdu.kind is not snmp.Kind.RESPONSE or pdu.request_id != self._id or engine_id != engine.engine_id:
            return Nothing("not to this question")
        self._question = None
        return Answer(pdu)

    def _reported(self, pdu: snmp.Pdu) -> Heard:
        """An unsigned report: enough to give up, never to change what we know, but for the engine itself."""
        if pdu.kind is not snmp.Kind.REPORT or not pdu.varbinds or pdu.varbinds[0].oid not in REPORTS:
            return Nothing("not signed")
        cause = pdu.varbinds[0].oid
        if cause == NOT_IN_WINDOW:
            return Nothing("an unsigned report about time")
        if cause == UNKNOWN_ENGINE:
            self._engine = None
        self._question = None
        return Refusal(REPORTS[cause])

    def _out_of_time(self, engine: _Engine, message: usm.Message, pdu: snmp.Pdu, now_mono_ns: int) -> Heard:
        if pdu.kind is not snmp.Kind.REPORT or not pdu.varbinds or pdu.varbinds[0].oid != NOT_IN_WINDOW:
            return Nothing("signed, but not ciphered")
        engine.boots, engine.time_s, engine.at_mono_ns = message.boots, message.time_s, now_mono_ns
        return self._again(now_mono_ns, REPORTS[NOT_IN_WINDOW])

    def _again(self, now_mono_ns: int, otherwise: str) -> Heard:
        self._tries += 1
        if self._tries >= AGAIN_MAX:
            self._question = None
            return Refusal(otherwise)
        return Again(self._put(now_mono_ns))
