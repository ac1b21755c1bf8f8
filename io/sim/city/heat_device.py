"""A simulated BACnet device: objects with priority arrays, and answers to requests. No sockets, no clock.

Answers longer than the asker takes in one piece go out in segments (clause 5.4), one window after the other, when the
device can; one that cannot aborts, as small controllers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gwanje.io.sim.city.heat_apdu import (
    CLASS_DEVICE,
    CLASS_OBJECT,
    CLASS_PROPERTY,
    COV_NOTIFICATION,
    DEVICE,
    I_AM,
    INVALID_ARRAY_INDEX,
    INVALID_DATA_TYPE,
    NOT_COV_OBJECT,
    OPERATIONAL_PROBLEM,
    PROPERTIES,
    READ_MULTIPLE,
    READ_PROPERTY,
    SUBSCRIBE_COV,
    UNKNOWN_OBJECT,
    UNKNOWN_PROPERTY,
    VALUE_OUT_OF_RANGE,
    WHO_IS,
    WRITE_DENIED,
    WRITE_PROPERTY,
    Asked,
    DecodeError,
    Subscription,
    Value,
    Write,
    context,
    context_id,
    encode,
    opened,
    packet,
    parse_read,
    parse_read_multiple,
    parse_subscribe,
    parse_write,
    read_multiple_reply,
    read_reply,
    tags,
    unsigned,
    unwrap,
)

SUBSCRIPTIONS_MAX = 64
"""Subscriptions of one device: small controllers keep a few dozen; beyond it they refuse."""
SEGMENTED_MAX = 8
"""Answers in segments that may be under way at once."""
WINDOW = 4
"""Segments sent before an acknowledgement."""
MAX_APDU = {0: 50, 1: 128, 2: 206, 3: 480, 4: 1024, 5: 1476}
ABORT_SEGMENTATION, REJECT_UNRECOGNIZED, REJECT_MISSING = 4, 9, 5

NAMES = {number: name for name, number in PROPERTIES.items()}
ANALOG, BINARY, MULTI = (0, 1, 2, 23), (3, 4, 5), (13, 14, 19)
COMMANDABLE = (1, 2, 4, 5, 14, 19)


class Refusal(Exception):
    """A property cannot be read or written; class and code of the error."""

    def __init__(self, error_class: int, code: int) -> None:
        super().__init__(f"error {error_class}/{code}")
        self.error = error_class, code


@dataclass(slots=True)
class BacnetObject:
    """One object.

    Attributes:
        kind: type number.
        value: what is measured, or the relinquish default of what can be commanded.
        low: least value that may be written.
        high: most.
        priority: what was written at each of the sixteen priorities; ``None`` where nothing stands.
    """

    kind: int
    instance: int
    name: str
    units: int = 95
    value: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    reliability: int = 0
    fault: bool = False
    overridden: bool = False
    out_of_service: bool = False
    priority: list[float | None] = field(default_factory=lambda: [None] * 16)

    @property
    def present(self) -> float:
        """The present value: the highest priority that stands, else ``value``."""
        return next((one for one in self.priority if one is not None), self.value)

    def typed(self, value: float) -> Value:
        """A value as this type of object holds it."""
        if self.kind in ANALOG:
            return ("unsigned", round(value)) if self.kind == 23 else ("real", float(value))
        return ("enumerated", int(value != 0)) if self.kind in BINARY else ("unsigned", max(round(value), 0))

    @property
    def flags(self) -> tuple[bool, bool, bool, bool]:
        """In alarm, fault, overridden, out of service."""
        return False, self.fault or self.reliability != 0, self.overridden, self.out_of_service

    def read(self, name: str, index: int | None) -> bytes:
        """One property, encoded.

        Raises:
            Refusal: it has none.
        """
        if name == "priority-array" and self.kind in COMMANDABLE:
            if index == 0:
                return encode(("unsigned", 16))
            if index is not None and index > 16:
                raise Refusal(CLASS_PROPERTY, INVALID_ARRAY_INDEX)
            chosen = self.priority if index is None else [self.priority[index - 1]]
            return b"".join(encode(("null", None) if one is None else self.typed(one)) for one in chosen)
        values: dict[str, Value] = {
            "object-identifier": ("object", (self.kind, self.instance)),
            "object-name": ("text", self.name),
            "object-type": ("enumerated", self.kind),
            "present-value": self.typed(self.present),
            "status-flags": ("bits", self.flags),
            "reliability": ("enumerated", self.reliability),
            "out-of-service": ("boolean", self.out_of_service),
        }
        if self.kind in ANALOG:
            values["units"] = ("enumerated", self.units)
        if self.kind in COMMANDABLE:
            values["relinquish-default"] = self.typed(self.value)
        if name not in values:
            raise Refusal(CLASS_PROPERTY, UNKNOWN_PROPERTY)
        return encode(values[name])


@dataclass(slots=True)
class Subscriber:
    """Who is told of an object's changes.

    Attributes:
        until_s: on the device's own clock.
        told: present value and flags of the last notification.
    """

    address: tuple[str, int]
    process: int
    until_s: float
    told: tuple[float, tuple[bool, ...]] | None = None


@dataclass(slots=True)
class Segmented:
    """An answer in segments that is under way."""

    service: int
    pieces: list[bytes]
    next: int = 0


@dataclass(slots=True)
class BacnetDevice:
    """A device and what it knows of its askers.

    Attributes:
        max_apdu: longest APDU that it sends in one piece.
        segments: whether it can send longer answers in several.
        multiple: whether it knows ReadPropertyMultiple.
        cov: whether objects can be subscribed to.
        error: (class, code) with which everything is refused; ``None`` for a device that is well.
        written: (object, value, priority) of everything written, the newest last; at most 64.
    """

    instance: int
    name: str
    model: str
    objects: dict[tuple[int, int], BacnetObject]
    max_apdu: int = 1476
    segments: bool = True
    multiple: bool = True
    cov: bool = True
    error: tuple[int, int] | None = None
    firmware: str = "1.0"
    now_s: float = 0.0
    written: list[tuple[str, float | None, int]] = field(default_factory=list)
    subscribers: dict[tuple[int, int], list[Subscriber]] = field(default_factory=dict)
    _sending: dict[tuple[tuple[str, int], int], Segmented] = field(default_factory=dict)

    def receive(self, data: bytes, source: tuple[str, int]) -> list[bytes]:
        """Packets that answer a packet; nothing for what is none of BACnet's."""
        try:
            apdu = unwrap(data)
            kind = apdu[0] >> 4 if apdu else -1
            if kind == 1 and len(apdu) > 1 and apdu[1] == WHO_IS:
                return self._who_is(apdu[2:])
            if kind == 4 and len(apdu) >= 4:
                return self._acknowledged(apdu, source)
            if kind != 0 or len(apdu) < 4 or apdu[0] & 8:
                return []
            return self._confirmed(apdu, source)
        except DecodeError:
            return []

    def _who_is(self, data: bytes) -> list[bytes]:
        limits = [unsigned(one.data) for one in tags(data)]
        if limits and (len(limits) != 2 or not limits[0] <= self.instance <= limits[1]):
            return []
        content = encode(("object", (DEVICE, self.instance))) + encode(("unsigned", self.max_apdu))
        content += encode(("enumerated", 1 if self.segments else 3)) + encode(("unsigned", 0))
        return [packet(bytes([0x10, I_AM]) + content)]

    def _confirmed(self, apdu: bytes, source: tuple[str, int]) -> list[bytes]:
        takes_segments, limit, invoke, service = bool(apdu[0] & 2), MAX_APDU.get(apdu[1] & 15, 480), apdu[2], apdu[3]
        try:
            if self.error is not None:
                raise Refusal(*self.error)
            content = self._served(service, apdu[4:], source)
        except DecodeError:
            return [packet(bytes([0x60, invoke, REJECT_MISSING]))]
        except Refusal as refusal:
            error = b"".join(encode(("enumerated", one)) for one in refusal.error)
            return [packet(bytes([0x50, invoke, service]) + error)]
        if content is None:
            return [packet(bytes([0x60, invoke, REJECT_UNRECOGNIZED]))]
        if not content:
            return [packet(bytes([0x20, invoke, service]))]
        limit = min(limit, self.max_apdu)
        if len(content) + 3 <= limit:
            return [packet(bytes([0x30, invoke, service]) + content)]
        if not (takes_segments and self.segments) or len(self._sending) >= SEGMENTED_MAX:
            return [packet(bytes([0x71, invoke, ABORT_SEGMENTATION]))]
        size = limit - 5
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        self._sending[source, invoke] = Segmented(service, pieces)
        return self._window(source, invoke, 1)

    def _served(self, service: int, data: bytes, source: tuple[str, int]) -> bytes | None:
        """The content of the answer, empty for a bare acknowledgement; ``None`` for a service it does not know."""
        match service:
            case _ if service == READ_PROPERTY:
                asked = parse_read(data)
                return read_reply(asked, self._property(asked))
            case _ if service == READ_MULTIPLE and self.multiple:
                return read_multiple_reply([(one, self._or_error(one)) for one in parse_read_multiple(data)])
            case _ if service == WRITE_PROPERTY:
                self._write(parse_write(data))
                return b""
            case _ if service == SUBSCRIBE_COV and self.cov:
                self._subscribe(parse_subscribe(data), source)
                return b""
        return None

    def _or_error(self, asked: Asked) -> bytes | tuple[int, int]:
        try:
            return self._property(asked)
        except Refusal as refusal:
            return refusal.error

    def _property(self, asked: Asked) -> bytes:
        name = NAMES.get(asked.property, "")
        if (asked.kind, asked.instance) in ((DEVICE, self.instance), (DEVICE, 0x3F_FFFF)):
            return self._own(name, asked.index)
        found = self.objects.get((asked.kind, asked.instance))
        if found is None:
            raise Refusal(CLASS_OBJECT, UNKNOWN_OBJECT)
        return found.read(name, asked.index)

    def _own(self, name: str, index: int | None) -> bytes:
        if name == "object-list":
            listed = [(DEVICE, self.instance), *self.objects]
            if index == 0:
                return encode(("unsigned", len(listed)))
            if index is not None and index > len(listed):
                raise Refusal(CLASS_PROPERTY, INVALID_ARRAY_INDEX)
            return b"".join(encode(("object", one)) for one in (listed if index is None else [listed[index - 1]]))
        values: Mapping[str, Value] = {
            "object-identifier": ("object", (DEVICE, self.instance)), "object-name": ("text", self.name),
            "object-type": ("enumerated", DEVICE), "model-name": ("text", self.model),
            "vendor-name": ("text", "Gwanje simulated city"), "vendor-identifier": ("unsigned", 0),
            "firmware-revision": ("text", self.firmware), "system-status": ("enumerated", 0),
            "max-apdu-length-accepted": ("unsigned", self.max_apdu),
            "segmentation-supported": ("enumerated", 1 if self.segments else 3),
        }  # fmt: skip
        if name not in values:
            raise Refusal(CLASS_PROPERTY, UNKNOWN_PROPERTY)
        return encode(values[name])

    def _write(self, write: Write) -> None:
        one = self.objects.get((write.what.kind, write.what.instance))
        if one is None:
            raise Refusal(CLASS_OBJECT, UNKNOWN_OBJECT)
        if NAMES.get(write.what.property) != "present-value" or one.kind not in COMMANDABLE:
            raise Refusal(CLASS_PROPERTY, WRITE_DENIED)
        kind, content = write.value
        value: float | None = None
        if kind != "null":
            if kind != one.typed(0.0)[0] or not isinstance(content, int | float):
                raise Refusal(CLASS_PROPERTY, INVALID_DATA_TYPE)
            value = float(content)
            if not one.low <= value <= one.high:
                raise Refusal(CLASS_PROPERTY, VALUE_OUT_OF_RANGE)
        one.priority[write.priority - 1] = value
        self.written = [*self.written[-63:], (one.name, value, write.priority)]

    def _subscribe(self, asked: Subscription, source: tuple[str, int]) -> None:
        key = asked.kind, asked.instance
        if key not in self.objects:
            raise Refusal(CLASS_OBJECT, UNKNOWN_OBJECT)
        if asked.confirmed or self.objects[key].kind == 23:
            raise Refusal(CLASS_OBJECT, NOT_COV_OBJECT)
        kept = [one for one in self.subscribers.get(key, []) if (one.address, one.process) != (source, asked.process)]
        if asked.lifetime_s is not None:
            if sum(map(len, self.subscribers.values())) >= SUBSCRIPTIONS_MAX:
                raise Refusal(CLASS_DEVICE, OPERATIONAL_PROBLEM)
            kept.append(Subscriber(source, asked.process, self.now_s + (asked.lifetime_s or math.inf)))
        self.subscribers[key] = kept

    def notices(self, increment: Mapping[tuple[int, int], float]) -> list[tuple[tuple[str, int], bytes]]:
        """Notifications that are due: (to whom, packet).

        Args:
            increment: of each object: by how much its value must change.
        """
        due = []
        for key, subscribers in self.subscribers.items():
            one = self.objects.get(key)
            self.subscribers[key] = subscribers = [who for who in subscribers if who.until_s > self.now_s]
            if one is None:
                continue
            state = one.present, one.flags
            for who in subscribers:
                moved = who.told is None or abs(state[0] - who.told[0]) >= increment.get(key, 0.1)
                if moved or (who.told is not None and state[1] != who.told[1]):
                    who.told = state
                    due.append((who.address, self._notification(one, who)))
        return due

    def _notification(self, one: BacnetObject, who: Subscriber) -> bytes:
        left_s = 0 if math.isinf(who.until_s) else max(int(who.until_s - self.now_s), 0)
        values = context(0, PROPERTIES["present-value"]) + opened(2, one.read("present-value", None))
        values += context(0, PROPERTIES["status-flags"]) + opened(2, one.read("status-flags", None))
        content = context(0, who.process) + context_id(1, DEVICE, self.instance)
        content += context_id(2, one.kind, one.instance) + context(3, left_s) + opened(4, values)
        return packet(bytes([0x10, COV_NOTIFICATION]) + content)

    def _acknowledged(self, apdu: bytes, source: tuple[str, int]) -> list[bytes]:
        key = source, apdu[1]
        sending = self._sending.get(key)
        if sending is None:
            return []
        sending.next = apdu[2] + 1 if apdu[2] < len(sending.pieces) else len(sending.pieces)
        if sending.next >= len(sending.pieces):
            del self._sending[key]
            return []
        return self._window(source, apdu[1], max(1, min(apdu[3], WINDOW)))

    def _window(self, source: tuple[str, int], invoke: int, size: int) -> list[bytes]:
        sending = self._sending[source, invoke]
        packets = []
        for index in range(sending.next, min(sending.next + size, len(sending.pieces))):
            more = index + 1 < len(sending.pieces)
            first = bytes([0x38 | (4 if more else 0), invoke, index & 255, WINDOW, sending.service])
            packets.append(packet(first + sending.pieces[index]))
        return packets
