"""What the configuration says of a broker and of the things behind it, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.config import Device
from gwanje.io.field.mqtt.payload import PayloadError, topic_of, wildcard_of, words
from gwanje.io.field.street.settings import ParamError, Params, is_loopback

QUEUE_DEFAULT = 20_000
"""Messages between the library's thread and ours: a second of the fastest flood that one core takes in."""
LAMP_KEYS = ("road_class", "floors_pct")
"""Keys of a lamp's ``params``."""
OWN = ("received_per_s", "dropped", "refused")
"""What a broker's own points may read: of our connection to it."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """``params`` of a broker's device.

    Attributes:
        embedded_broker: this site runs it itself (part ``broker``).
        client_id: of our connection.
        user: empty without.
        password_file: in the site's security folder.
        tls: needed beyond loopback.
        ca_file: of the authority, in the security folder; empty for the system's.
        keepalive_s: of our connection.
        queue: messages that may wait.
        clients: of the embedded broker.
    """

    embedded_broker: bool
    client_id: str
    user: str
    password_file: str
    tls: bool
    ca_file: str
    keepalive_s: int
    queue: int
    clients: int


def broker_settings(device: Device) -> BrokerSettings:
    """Of a broker.

    Raises:
        ParamError: a key is wrong.
    """
    params = Params(device.params)
    found = BrokerSettings(
        embedded_broker=params.flag("embedded_broker", False),
        client_id=params.text("client_id", "gwanje"),
        user=params.text("user", ""),
        password_file=params.text("password_file", ""),
        tls=params.flag("tls", False),
        ca_file=params.text("ca_file", ""),
        keepalive_s=params.whole("keepalive_s", 20, 5, 600),
        queue=params.whole("queue", QUEUE_DEFAULT, 100, 1_000_000),
        clients=params.whole("clients", 1_000, 1, 20_000),
    )
    params.finish()
    if not 0 < len(found.client_id) <= 64:
        raise ParamError("client_id", "must have 1 … 64 characters")
    if found.user and not found.password_file:
        raise ParamError("password_file", "a user has a password, in a file of the security folder")
    if not is_loopback(device.host):
        if found.embedded_broker:
            raise ParamError("embedded_broker", f"listens on this machine only, not on {device.host!r}")
        if not found.tls:
            raise ParamError("tls", "a broker beyond this machine is spoken to with TLS only")
        if not found.user:
            raise ParamError("user", "a broker beyond this machine needs user and password_file")
    return found


@dataclass(frozen=True, slots=True)
class ThingSettings:
    """``params`` of a thing.

    Attributes:
        online: topic template of its availability (its last will); empty without.
        time: field of its messages that says when they were true; empty without.
    """

    online: str
    time: tuple[str, ...]


def thing_settings(device: Device) -> ThingSettings:
    """Of a thing.

    Raises:
        ParamError: a key is wrong.
    """
    params = Params(device.params)
    params.ignore(*LAMP_KEYS)
    online = params.text("online_topic", "")
    time = params.text("time_field", "")
    params.finish()
    if online:
        _topic("online_topic", online, device.address)
    return ThingSettings(online, _field("time_field", time) if time else ())


@dataclass(frozen=True, slots=True)
class FieldPlace:
    """Where a point is: a field of the JSON that a topic carries.

    Attributes:
        topic: template.
        path: of the field.
        values: words of a state → number; empty for numbers.
    """

    topic: str
    path: tuple[str, ...]
    values: Mapping[str, float]


def read_place(at: Mapping[str, Any], address: str) -> FieldPlace:
    """``at = { topic = "lamps/{address}/state", field = "power_w" }``.

    Raises:
        ParamError: a key is wrong.
    """
    params = Params(at)
    topic, field = params.text("topic"), params.text("field")
    params.ignore("values")
    params.finish()
    _topic("topic", topic, address)
    values = at.get("values", {})
    if not isinstance(values, Mapping) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in values.values()
    ):
        raise ParamError("values", "is no table of words and their numbers")
    return FieldPlace(topic, _field("field", field), {key: float(value) for key, value in values.items()})


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """How a command is sent.

    Attributes:
        topic: that takes it, a template.
        ack: that acknowledges it.
        field: that it sets, and that the acknowledgement says it holds.
        state: topic of the thing's state; empty when that does not tell what the thing was commanded.
        readback: field there.
    """

    topic: str
    ack: str
    field: str
    state: str = ""
    readback: tuple[str, ...] = ()


def read_command_place(at: Mapping[str, Any], address: str) -> CommandPlace:
    """``at = { topic = "lamps/{address}/set", ack = "lamps/{address}/ack", field = "dim_pct" }``.

    Raises:
        ParamError: a key is wrong.
    """
    params = Params(at)
    topic, ack, field = params.text("topic"), params.text("ack"), params.text("field")
    state, readback = params.text("state", ""), params.text("readback", "")
    params.finish()
    _topic("topic", topic, address)
    _topic("ack", ack, address)
    _field("field", field)
    if bool(state) != bool(readback):
        raise ParamError("readback", "a state topic and its field go together")
    if state:
        _topic("state", state, address)
    return CommandPlace(topic, ack, field, state, _field("readback", readback) if readback else ())


def _topic(key: str, template: str, address: str) -> None:
    try:
        topic_of(template, address)
    except PayloadError as error:
        raise ParamError(key, str(error)) from None
    if not wildcard_of(template):
        raise ParamError(key, f"{template!r} does not have {{address}} as a level of its own")


def _field(key: str, text: str) -> tuple[str, ...]:
    try:
        return words(text)
    except PayloadError as error:
        raise ParamError(key, str(error)) from None
