"""A light SNMP agent: bytes in, bytes out, versions 2c and 3. No I/O, no clock.

Its codec is the driver's own; net-snmp's tools referee it in the tests, so that a shared misreading is found.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gwanje.io.field.ntcip import ber, snmp, talk, usm

Get = Callable[[], snmp.Value]
Set = Callable[[int], int]
"""Takes a value; gives the error status, 0 for none."""
WINDOW_S = usm.WINDOW_S
BULK_MAX = 64
"""Objects in the answer to one GETBULK."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the agent.

    Attributes:
        oid: encoded.
        get: its value.
        tag: type of the value.
        set: None for what cannot be written.
    """

    oid: bytes
    get: Get
    tag: int = ber.INTEGER
    set: Set | None = None


@dataclass(slots=True)
class Engine:
    """The agent's security engine; ``boots`` and ``started_s`` change when it reboots."""

    engine_id: bytes
    users: Mapping[bytes, usm.Keys]
    boots: int = 1
    started_s: float = 0.0
    salt: int = 0
    counts: dict[bytes, int] = field(default_factory=dict)

    def time_s(self, now_s: float) -> int:
        """Seconds since it booted."""
        return int(now_s - self.started_s)


class Agent:
    """Answers for one controller.

    Args:
        objects: of the controller.
        community: of version 2c, None where it is not spoken.
        engine: of version 3, None where it is not spoken.
    """

    def __init__(self, objects: Sequence[Object], community: str | None, engine: Engine | None) -> None:
        self.objects = {one.oid: one for one in objects}
        self._order = sorted((ber.oid_key(one.oid), one.oid) for one in objects)
        self._community = None if community is None else community.encode()
        self.engine = engine
        self.hidden: set[bytes] = set()
        """Objects it says it does not have (a fault)."""
        self.varbinds_max = snmp.VARBINDS_MAX
        """Objects above which an answer is too big (a fault)."""
        self.set_error = 0
        """What every SET is answered with (a fault)."""
        self.sets = 0

    def answer(self, data: bytes, now_s: float) -> bytes | None:
        """The reply to a datagram; None for what an agent keeps silent about."""
        try:
            version, _, _ = snmp.version_of(data)
            if version == snmp.VERSION_2C:
                community, pdu = snmp.decode_v2c(data)
                reply = self._serve(pdu) if community == self._community else None
                return None if reply is None else snmp.encode_v2c(community, reply)
            if version == snmp.VERSION_3 and self.engine is not None:
                return self._secured(self.engine, data, now_s)
        except (ber.BerError, usm.SecurityError):
            return None
        return None

    def _secured(self, engine: Engine, data: bytes, now_s: float) -> bytes | None:
        message = usm.decode(data)
        if message.engine_id != engine.engine_id:
            return self._report(engine, message, talk.UNKNOWN_ENGINE, now_s)
        keys = engine.users.get(message.user)
        if keys is None:
            return self._report(engine, message, talk.UNKNOWN_USER, now_s)
        if not message.flags & usm.AUTHENTICATED or not message.flags & usm.PRIVATE:
            return self._report(engine, message, talk.UNSUPPORTED_LEVEL, now_s)
        try:
            usm.check_signature(data, message, keys)
        except usm.SecurityError:
            return self._report(engine, message, talk.WRONG_DIGEST, now_s)
        if message.boots != engine.boots or abs(message.time_s - engine.time_s(now_s)) > WINDOW_S:
            return self._report(engine, message, talk.NOT_IN_WINDOW, now_s, keys)
        try:
            _, pdu = usm.open_scoped(usm.unlock(data, message, keys))
        except ber.BerError:
            return self._report(engine, message, talk.NOT_DECRYPTED, now_s)
        reply = self._serve(pdu)
        if reply is None:
            return None
        engine.salt += 1
        return usm.encode(
            message.message_id, usm.AUTHENTICATED | usm.PRIVATE, engine.engine_id, engine.boots, engine.time_s(now_s),
            message.user, usm.scoped_pdu(engine.engine_id, reply), keys, engine.salt.to_bytes(8, "big"),
        )  # fmt: skip

    def _report(
        self, engine: Engine, message: usm.Message, cause: bytes, now_s: float, keys: usm.Keys | None = None
    ) -> bytes:
        engine.counts[cause] = engine.counts.get(cause, 0) + 1
        count = snmp.Varbind(cause, snmp.COUNTER32, engine.counts[cause])
        pdu = snmp.encode_pdu(snmp.Kind.REPORT, 0, snmp.varbind_list([count]))
        flags = usm.AUTHENTICATED if keys is not None else 0
        return usm.encode(
            message.message_id, flags, engine.engine_id, engine.boots, engine.time_s(now_s), message.user,
            usm.scoped_pdu(engine.engine_id, pdu), keys,
        )  # fmt: skip

    def _serve(self, pdu: snmp.Pdu) -> bytes | None:
        match pdu.kind:
            case snmp.Kind.GET:
                return self._reply(pdu, [self._value(one.oid) for one in pdu.varbinds])
            case snmp.Kind.GET_NEXT:
                return self._reply(pdu, [self._next(one.oid) for one in pdu.varbinds])
            case snmp.Kind.GET_BULK:
                return self._reply(pdu, self._bulk(pdu))
            case snmp.Kind.SET:
                return self._set(pdu)
            case _:
                return None

    def _reply(self, pdu: snmp.Pdu, varbinds: Sequence[snmp.Varbind]) -> bytes:
        if len(varbinds) > self.varbinds_max:
            return snmp.encode_pdu(snmp.Kind.RESPONSE, pdu.request_id, snmp.question(()), snmp.ErrorStatus.TOO_BIG)
        return snmp.encode_pdu(snmp.Kind.RESPONSE, pdu.request_id, snmp.varbind_list(varbinds))

    def _value(self, oid: bytes) -> snmp.Varbind:
        one = self.objects.get(oid)
        if one is None or oid in self.hidden:
            return snmp.Varbind(oid, snmp.NO_SUCH_OBJECT)
        return snmp.Varbind(oid, one.tag, one.get())

    def _next(self, oid: bytes) -> snmp.Varbind:
        at = bisect_right(self._order, (ber.oid_key(oid), oid))
        while at < len(self._order) and self._order[at][1] in self.hidden:
            at += 1
        return self._value(self._order[at][1]) if at < len(self._order) else snmp.Varbind(oid, snmp.END_OF_VIEW)

    def _bulk(self, pdu: snmp.Pdu) -> list[snmp.Varbind]:
        single, times = max(pdu.error_status, 0), max(pdu.error_index, 0)
        found = [self._next(one.oid) for one in pdu.varbinds[:single]]
        last = [one.oid for one in pdu.varbinds[single:]]
        for _ in range(times):
            row = [self._next(one) for one in last]
            if not row or len(found) + len(row) > BULK_MAX:
                break
            found += row
            last = [one.oid for one in row]
        return found

    def _set(self, pdu: snmp.Pdu) -> bytes:
        """All or none: every value is looked at before the first is taken."""
        status, index = self.set_error, 1 if self.set_error else 0
        for number, one in enumerate(pdu.varbinds, 1):
            if not status and (status := self._why_not(one)):
                index = number
        for number, one in enumerate(pdu.varbinds, 1):
            target = self.objects.get(one.oid)
            if status or target is None or target.set is None:
                break
            if status := target.set(int(one.value) if isinstance(one.value, int) else 0):
                index = number
        self.sets += not status
        return snmp.encode_pdu(
            snmp.Kind.RESPONSE, pdu.request_id, snmp.varbind_list(pdu.varbinds), status, index
        )

    def _why_not(self, one: snmp.Varbind) -> int:
        target = self.objects.get(one.oid)
        if target is None or one.oid in self.hidden:
            return snmp.ErrorStatus.NO_CREATION
        if target.set is None:
            return snmp.ErrorStatus.NOT_WRITABLE
        if one.tag != target.tag or one.number is None:
            return snmp.ErrorStatus.WRONG_TYPE
        return 0 if 0 <= one.number <= 65_535 else snmp.ErrorStatus.WRONG_VALUE
