"""The UDP socket under all BACnet devices, through bacpypes3; only this file and ``link`` touch it.

bacpypes3 keeps socket, transactions and segments. What it leaves open is closed here: it retries requests (a driver
backs off instead), returns errors as values, answers requests of others (this end serves nothing), and short-circuits
packets to its own port number on any 127.x address (so this end takes a port that the system chooses).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

from bacpypes3.apdu import (
    APDU,
    AbortPDU,
    ErrorPDU,
    IAmRequest,
    RejectPDU,
    UnconfirmedCOVNotificationRequest,
    WhoIsRequest,
)
from bacpypes3.app import Application
from bacpypes3.appservice import ApplicationServiceAccessPoint
from bacpypes3.comm import bind
from bacpypes3.errors import DecodingError
from bacpypes3.ipv4.link import NormalLinkLayer
from bacpypes3.local.device import DeviceObject
from bacpypes3.netservice import NetworkServiceAccessPoint, NetworkServiceElement
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import TagClass
from bacpypes3.service.device import WhoIsIAmServices

from gwanje.io.field.bacnet.values import Content, Flags, ObjectId, PropertyError
from gwanje.io.field.errors import ConnectError, ConnectionLostError, NoAnswerError

OWN_INSTANCE = 4_194_302
"""Of this end, which serves nothing and is asked for nothing."""
APDU_TIMEOUT_MS_MAX = 30_000
"""bacpypes3's own patience; every request here ends earlier by its device's time-out."""


class RefusedError(Exception):
    """The device answered, and refuses.

    Attributes:
        how: ``error``, ``reject`` or ``abort``.
        reason: the standard's word.
        error_class: of an error, else empty.
    """

    def __init__(self, how: str, reason: str, error_class: str = "") -> None:
        super().__init__(f"{how} {error_class + ': ' if error_class else ''}{reason}")
        self.how = how
        self.reason = reason
        self.error_class = error_class

    @property
    def unknown_service(self) -> bool:
        """Whether the device does not know what it was asked: a reject, or with some an error of that name."""
        return self.how == "reject" or (self.how == "error" and self.reason.startswith("reject-"))


Notice = Callable[[int, ObjectId, dict[str, Content]], None]
"""Hears of a change: process number of the subscription, object, its properties."""


class Endpoint(Application, WhoIsIAmServices):  # type: ignore[misc]
    """bacpypes3's layers for a client: everything that would serve others is left out."""

    def __init__(self, local: DeviceObject, address: IPv4Address) -> None:
        Application.__init__(self)
        self.heard: dict[Address, Notice] = {}
        self.asap = ApplicationServiceAccessPoint(local, self.device_info_cache)
        self.nsap = NetworkServiceAccessPoint()
        self.nse = NetworkServiceElement()
        bind(self.nse, self.nsap)
        bind(self, self.asap, self.nsap)
        self.normal = NormalLinkLayer(address)
        self.nsap.bind(self.normal, address=address)
        self.add_object(local)

    async def do_WhoIsRequest(self, apdu: WhoIsRequest) -> None:  # noqa: N802 - bacpypes3's name
        """Nobody needs to find this end."""

    async def do_UnconfirmedCOVNotificationRequest(  # noqa: N802 - bacpypes3's name
        self, apdu: UnconfirmedCOVNotificationRequest
    ) -> None:
        """Hand a change to the device's driver, if it is from one."""
        notice = self.heard.get(apdu.pduSource)
        if notice is None:
            return
        kind, instance = apdu.monitoredObjectIdentifier
        found = {str(one.propertyIdentifier): content_of(one.value) for one in apdu.listOfValues}
        notice(int(apdu.subscriberProcessIdentifier), ObjectId(str(kind), int(instance)), found)


class BacnetStack:
    """The UDP socket that all devices of a part share. Made and used inside one event loop.

    Args:
        host: address of this machine that the devices see.
    """

    def __init__(self, host: str) -> None:
        logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)  # drivers report, once per change
        local = DeviceObject(
            objectIdentifier=("device", OWN_INSTANCE), objectName="gwanje", vendorIdentifier=0,
            maxApduLengthAccepted=1476, segmentationSupported="segmentedBoth", maxSegmentsAccepted=64,
            numberOfApduRetries=0, apduTimeout=APDU_TIMEOUT_MS_MAX, apduSegmentTimeout=2_000,
        )  # fmt: skip
        self._endpoint = Endpoint(local, IPv4Address(f"{host}:0"))

    async def request(self, apdu: APDU, timeout_s: float) -> Any:
        """Send a confirmed request and wait for its answer.

        Raises:
            NoAnswerError: none in time.
            RefusedError: the device refuses.
        """
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._endpoint.request(apdu)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {timeout_s:g} s") from None
        except (ErrorPDU, RejectPDU, AbortPDU) as refusal:
            raise refusal_of(refusal) from None
        except OSError as error:
            raise ConnectionLostError(str(error)) from None
        if isinstance(answer, ErrorPDU | RejectPDU | AbortPDU):
            raise refusal_of(answer)
        return answer

    async def who_is(self, address: Address, instance: int, timeout_s: float) -> IAmRequest | None:
        """Ask one address whether it is a device; ``None`` when it does not say so in time."""
        try:
            async with asyncio.timeout(timeout_s + 0.5):
                found = await self._endpoint.who_is(instance, instance, address, timeout=timeout_s)
        except TimeoutError:
            return None
        return found[0] if found else None

    def listen(self, address: Address, notice: Notice) -> None:
        """Changes that come from an address are for this driver."""
        self._endpoint.heard[address] = notice

    def close(self) -> None:
        """Let go of the socket."""
        self._endpoint.normal.close()


class Stacks:
    """The sockets of a part: one for each address of this machine from which devices are reached."""

    def __init__(self) -> None:
        self._made: dict[str, BacnetStack] = {}

    def toward(self, host: str) -> BacnetStack:
        """The socket on the way to a host: nothing listens on more than that. The way may be another one tomorrow.

        Raises:
            ConnectError: there is no way now: the network is not up yet.
        """
        local = own_address(host)
        if local not in self._made:
            self._made[local] = BacnetStack(local)
        return self._made[local]

    def close(self) -> None:
        """Let go of all sockets."""
        for one in self._made.values():
            one.close()


def own_address(host: str) -> str:
    """The address of this machine on the way to a host.

    Raises:
        ConnectError: there is none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError as error:
            raise ConnectError(f"no way to {host}: {error.strerror or error}", refused=False) from None
        return str(probe.getsockname()[0])


def refusal_of(pdu: Any) -> RefusedError:
    """What an error, reject or abort says."""
    if isinstance(pdu, ErrorPDU):
        error_class, code = getattr(pdu, "errorClass", "device"), getattr(pdu, "errorCode", "other")
        return RefusedError("error", str(code), str(error_class))
    how = "reject" if isinstance(pdu, RejectPDU) else "abort"
    return RefusedError(how, str(pdu.apduAbortRejectReason))


def content_of(value: Any) -> Content:
    """One application tag as what it says; what is none of these kinds is an error of the device's.

    bacpypes3 would cast by the type that the standard names for the property; devices give whole numbers where it
    says real, and the other way round, and both are numbers.
    """
    tags = [one for one in value.tagList if one.tag_class not in (TagClass.opening, TagClass.closing)]
    if len(tags) != 1 or tags[0].tag_class != TagClass.application:
        return PropertyError("property", "datatype-not-supported")
    tag = tags[0]
    number, data = int(tag.tag_number), bytes(tag.tag_data)
    try:
        return _plain(number, data, int(tag.tag_lvt))
    except (ValueError, DecodingError):
        return PropertyError("property", "invalid-data-encoding")


def _plain(number: int, data: bytes, lvt: int) -> Content:
    match number:
        case 0:
            return None
        case 1:
            return float(lvt)
        case 2 | 9 if 1 <= len(data) <= 8:
            return float(int.from_bytes(data, "big"))
        case 3 if 1 <= len(data) <= 8:
            return float(int.from_bytes(data, "big", signed=True))
        case 4 | 5 if len(data) == (4 if number == 4 else 8):
            return float(_real(data))
        case 7 if data[:1] == b"\x00":
            return data[1:].decode("utf-8", "replace")
        case 8 if len(data) == 2 and data[0] == 4:
            return Flags(*(bool(data[1] & bit) for bit in (0x80, 0x40, 0x20, 0x10)))
    return PropertyError("property", "datatype-not-supported")


def _real(data: bytes) -> float:
    return float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])
