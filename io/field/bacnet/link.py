"""One BACnet device as a link: find it, read, write, subscribe. Through bacpypes3, as ``stack``.

Answers are checked against what was asked before anybody believes them; a device that does not know
ReadPropertyMultiple, or whose answers may not be long, is asked in the way it can answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bacpypes3.apdu import (
    ReadAccessSpecification,
    ReadPropertyACK,
    ReadPropertyMultipleACK,
    ReadPropertyMultipleRequest,
    ReadPropertyRequest,
    SimpleAckPDU,
    SubscribeCOVRequest,
    WritePropertyRequest,
)
from bacpypes3.basetypes import EngineeringUnits, PropertyIdentifier, PropertyReference
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import Enumerated, Null, ObjectIdentifier, Real, Unsigned

from gwanje.io.field.bacnet.stack import BacnetStack, Notice, RefusedError, content_of
from gwanje.io.field.bacnet.values import Content, ObjectId, PropertyError
from gwanje.io.field.errors import ConnectError, InvalidReplyError, WriteForbiddenError

PROPERTIES_MAX = 60
"""Properties of one request: about 700 bytes of answer, which fits one packet of most devices."""
TEXT_MAX = 64
UNITS_END = 65_536
"""The standard's units and those of vendors end before it."""

Wanted = tuple[ObjectId, str]
"""An object and the name of a property."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers at an address."""

    instance: int
    vendor: str
    model: str
    firmware: str

    def __str__(self) -> str:
        return f"{self.vendor} {self.model} {self.firmware} (device {self.instance})"


class BacnetLink:
    """One device.

    Args:
        stack: gives the socket on the way to it, shared; asked anew whenever the device is looked for.
        host: of the device.
        port: of the device.
        instance: that it must have.
        timeout_s: for each answer.
        read_only: the site-wide gate: when true no write leaves, whoever asks.
        notice: hears of changes.
    """

    def __init__(
        self, stack: Callable[[], BacnetStack], host: str, port: int, instance: int, timeout_s: float, notice: Notice,
        *, read_only: bool,
    ) -> None:  # fmt: skip
        self._way = stack
        self._found: BacnetStack | None = None
        self._notice = notice
        self._address = Address(f"{host}:{port}")
        self._instance = instance
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._multiple = True
        self._properties_max = PROPERTIES_MAX

    @property
    def _stack(self) -> BacnetStack:
        assert self._found is not None, "identified before it is asked anything"
        return self._found

    async def identify(self) -> Identity:
        """Find the device and what it says of itself.

        Raises:
            ConnectError: nobody with this instance answers, or no way leads there.
            NoAnswerError: it fell silent.
        """
        self._multiple, self._properties_max = True, PROPERTIES_MAX
        self._found = self._way()
        self._found.listen(self._address, self._notice)
        if await self._stack.who_is(self._address, self._instance, self._timeout_s) is None:
            raise ConnectError(f"no device {self._instance} answers at {self._address}", refused=False)
        own = ObjectId("device", self._instance)
        names = ("vendor-name", "model-name", "firmware-revision")
        found = await self.read([(own, one) for one in names])
        texts = [one[:TEXT_MAX] if isinstance(one := found[own, name], str) else "?" for name in names]
        return Identity(self._instance, *texts)

    async def read(self, wanted: Sequence[Wanted]) -> dict[Wanted, Content]:
        """Read properties, in as few requests as the device takes.

        Raises:
            NoAnswerError: a request was not answered.
            RefusedError: the device refuses as a whole.
            InvalidReplyError: the answer is not about what was asked.
        """
        found: dict[Wanted, Content] = {}
        at = 0
        while at < len(wanted):
            some = wanted[at : at + self._properties_max]
            try:
                found |= await (self._read_multiple(some) if self._multiple else self._read_each(some))
            except RefusedError as refusal:
                if refusal.unknown_service and self._multiple:
                    self._multiple = False  # it does not know ReadPropertyMultiple
                    continue
                if refusal.how == "abort" and self._multiple and len(some) > 1:
                    self._properties_max = max(len(some) // 2, 1)  # the answer is too long for it
                    continue
                raise
            at += len(some)
        return found

    async def _read_multiple(self, wanted: Sequence[Wanted]) -> dict[Wanted, Content]:
        by_object: dict[ObjectId, list[str]] = {}
        for one, name in wanted:
            by_object.setdefault(one, []).append(name)
        request = ReadPropertyMultipleRequest(
            listOfReadAccessSpecs=[
                ReadAccessSpecification(
                    objectIdentifier=ObjectIdentifier(str(one)),
                    listOfPropertyReferences=[
                        PropertyReference(propertyIdentifier=PropertyIdentifier(name)) for name in names
                    ],
                )
                for one, names in by_object.items()
            ],
            destination=self._address,
        )
        answer = await self._stack.request(request, self._timeout_s)
        if not isinstance(answer, ReadPropertyMultipleACK):
            raise InvalidReplyError(f"answers a read with {type(answer).__name__}")
        found = dict(_results(answer))
        if missing := [one for one in wanted if one not in found]:
            raise InvalidReplyError(f"the answer lacks {missing[0][1]} of {missing[0][0]}")
        return {one: found[one] for one in wanted}

    async def _read_each(self, wanted: Sequence[Wanted]) -> dict[Wanted, Content]:
        found: dict[Wanted, Content] = {}
        for one, name in wanted:
            request = ReadPropertyRequest(
                objectIdentifier=ObjectIdentifier(str(one)), propertyIdentifier=PropertyIdentifier(name),
                destination=self._address,
            )  # fmt: skip
            try:
                answer = await self._stack.request(request, self._timeout_s)
            except RefusedError as refusal:
                if refusal.how != "error":
                    raise
                found[one, name] = PropertyError(refusal.error_class, refusal.reason)
                continue
            if not isinstance(answer, ReadPropertyACK) or str(answer.propertyIdentifier) != name:
                raise InvalidReplyError(f"answers a read with {type(answer).__name__}")
            found[one, name] = content_of(answer.propertyValue)
        return found

    async def write(self, target: ObjectId, value: float | None, priority: int) -> None:
        """Write the present value at a priority; ``None`` lets go of the slot.

        Raises:
            WriteForbiddenError: the site is read only.
            NoAnswerError: nobody knows whether it arrived.
            RefusedError: the device does not take it.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        request = WritePropertyRequest(
            objectIdentifier=ObjectIdentifier(str(target)), propertyIdentifier=PropertyIdentifier("present-value"),
            propertyValue=_encoded(target.kind, value), destination=self._address,
        )  # fmt: skip
        request.priority = priority
        answer = await self._stack.request(request, self._timeout_s)
        if not isinstance(answer, SimpleAckPDU):
            raise InvalidReplyError(f"answers a write with {type(answer).__name__}")

    async def slot(self, target: ObjectId, priority: int) -> Content:
        """What stands at one priority of an object; ``None`` for nothing.

        Raises:
            NoAnswerError: no answer.
            RefusedError: it has no priority array.
        """
        request = ReadPropertyRequest(
            objectIdentifier=ObjectIdentifier(str(target)), propertyIdentifier=PropertyIdentifier("priority-array"),
            destination=self._address,
        )  # fmt: skip
        request.propertyArrayIndex = priority
        answer = await self._stack.request(request, self._timeout_s)
        if not isinstance(answer, ReadPropertyACK):
            raise InvalidReplyError(f"answers a read with {type(answer).__name__}")
        return content_of(answer.propertyValue)

    async def subscribe(self, target: ObjectId, process: int, lifetime_s: int) -> None:
        """Be told of an object's changes.

        Raises:
            NoAnswerError: no answer.
            RefusedError: it does not tell.
        """
        request = SubscribeCOVRequest(
            subscriberProcessIdentifier=process, monitoredObjectIdentifier=ObjectIdentifier(str(target)),
            issueConfirmedNotifications=False, lifetime=lifetime_s, destination=self._address,
        )  # fmt: skip
        await self._stack.request(request, self._timeout_s)


def _results(answer: ReadPropertyMultipleACK) -> list[tuple[Wanted, Content]]:
    found: list[tuple[Wanted, Content]] = []
    for access in answer.listOfReadAccessResults:
        kind, instance = access.objectIdentifier
        one = ObjectId(str(kind), int(instance))
        for element in access.listOfResults:
            name, result = str(element.propertyIdentifier), element.readResult
            if result.propertyAccessError is not None:
                error = result.propertyAccessError
                found.append(((one, name), PropertyError(str(error.errorClass), str(error.errorCode))))
            else:
                found.append(((one, name), content_of(result.propertyValue)))
    return found


def _encoded(kind: str, value: float | None) -> Any:
    """A present value as an object of this kind holds it."""
    if value is None:
        return Null(())
    if kind.startswith("analog"):
        return Real(value)
    return Enumerated(int(value)) if kind.startswith("binary") else Unsigned(int(value))


def unit_name(number: float) -> str:
    """The standard's word for a number of its list of units; the number itself where it has none."""
    return str(EngineeringUnits(int(number))) if 0.0 <= number < UNITS_END else f"{number:g}"


__all__ = ["BacnetLink", "Identity", "RefusedError", "Wanted", "unit_name"]
