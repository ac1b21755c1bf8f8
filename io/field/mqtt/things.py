"""The things behind a broker: which topic feeds which slots, who is there, and what a message does to them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import Health, State
from gwanje.io.field.mqtt.payload import (
    Ack,
    PayloadError,
    field_of,
    number_of,
    read,
    read_ack,
    time_of,
    topic_of,
    truth_of,
    wildcard_of,
)
from gwanje.io.field.mqtt.settings import CommandPlace, FieldPlace, read_command_place, read_place, thing_settings
from gwanje.io.field.street.columns import Columns


@dataclass(frozen=True, slots=True)
class Feed:
    """A slot that a field of a topic feeds."""

    slot: int
    place: FieldPlace
    scale: float
    offset: float


@dataclass(slots=True, eq=False)
class Thing:
    """A device behind a broker.

    Attributes:
        device: its configuration.
        health: how it does.
        slots: of its points and commands.
        feeds: topic → slots that it feeds.
        online: topic of its availability; empty without.
        time: field that says when its messages were true.
        commanded: how its command is sent; ``None`` without.
        readback: slot of its command, -1 without.
        dark: slot of its own light sensor, -1 without.
        there: what its availability or its messages say; ``None`` before either.
    """

    device: Device
    health: Health
    slots: tuple[int, ...]
    feeds: dict[str, list[Feed]]
    online: str
    time: tuple[str, ...]
    commanded: CommandPlace | None
    readback: int
    dark: int
    there: bool | None = None


def make_thing(device: Device, columns: Columns, base_quality: int) -> Thing:
    """Slots and topics of a device.

    Raises:
        ParamError: its configuration makes no sense (the checker tells before).
    """
    settings = thing_settings(device)
    feeds: dict[str, list[Feed]] = {}
    slots: list[int] = []
    dark = readback = -1
    for point in device.points:
        place = read_place(point.at, device.address)
        slots.append(columns.slot(point.tag, base_quality))
        feed = Feed(slots[-1], place, point.scale, point.offset)
        feeds.setdefault(topic_of(place.topic, device.address), []).append(feed)
        if point.tag.endswith(".dark"):
            dark = slots[-1]
    commanded = None
    for command in device.commands:
        commanded = read_command_place(command.at, device.address)
        readback = columns.slot(command.tag, base_quality)
        slots.append(readback)
        if commanded.state:
            feed = Feed(readback, FieldPlace(commanded.state, commanded.readback, {}), 1.0, 0.0)
            feeds.setdefault(topic_of(commanded.state, device.address), []).append(feed)
    online = topic_of(settings.online, device.address) if settings.online else ""
    return Thing(device, Health(), tuple(slots), feeds, online, settings.time, commanded, readback, dark)


def filters_of(devices: Iterable[Device]) -> list[str]:
    """What must be subscribed to, to hear all of them: one filter for all things of a kind."""
    found: dict[str, None] = {}
    for device in devices:
        templates = [str(point.at["topic"]) for point in device.points]
        for command in device.commands:
            place = read_command_place(command.at, device.address)
            templates += [place.ack, *([place.state] if place.state else [])]
        if online := thing_settings(device).online:
            templates.append(online)
        for one in templates:
            found[wildcard_of(one)] = None
    return list(found)


class Things:
    """See the module.

    Args:
        things: behind the broker.
        columns: take the values.
        now: (UTC, monotonic) nanoseconds.
        acked: told of acknowledgements.
    """

    def __init__(
        self, things: Sequence[Thing], columns: Columns, now: Callable[[], tuple[int, int]],
        acked: Callable[[Thing, Ack], None],
    ) -> None:  # fmt: skip
        self.things = things
        self._columns = columns
        self._now = now
        self._acked = acked
        self.refused = 0
        """Messages that could not be believed."""
        self.strange = 0
        """Messages on topics that nobody configured."""
        self._states: dict[str, tuple[Thing, list[Feed]]] = {}
        self._others: dict[str, tuple[Thing, bool]] = {}
        for thing in things:
            for topic, feeds in thing.feeds.items():
                self._states[topic] = (thing, feeds)
            if thing.online:
                self._others[thing.online] = (thing, True)
            if thing.commanded is not None:
                self._others[topic_of(thing.commanded.ack, thing.device.address)] = (thing, False)

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        """One message."""
        found = self._states.get(topic)
        if found is not None:
            self._state(found[0], found[1], payload, retained)
            return
        other = self._others.get(topic)
        if other is None:
            self.strange += 1
            return
        thing, availability = other
        try:
            if availability:
                self._available(thing, truth_of(payload))
            elif not retained and thing.commanded is not None:
                self._acked(thing, read_ack(payload, thing.commanded.field))
        except PayloadError:
            self._refuse(thing)

    def _refuse(self, thing: Thing) -> None:
        self.refused += 1
        thing.health.errors += 1

    def _state(self, thing: Thing, feeds: Sequence[Feed], payload: bytes, retained: bool) -> None:
        now_utc_ns, now_mono_ns = self._now()
        try:
            message = read(payload)
            utc_ns = time_of(message, thing.time)
        except PayloadError:
            self._refuse(thing)
            self._columns.spoil([one.slot for one in feeds], Quality.BAD | Quality.DEVICE_FAILURE, now_utc_ns)
            return
        doubt = int(Quality.UNCERTAIN | Quality.STALE) if retained and not utc_ns else 0
        for feed in feeds:
            try:
                value = _value(message, feed)
            except PayloadError:
                self._refuse(thing)
                self._columns.spoil((feed.slot,), Quality.BAD | Quality.DEVICE_FAILURE, now_utc_ns)
                continue
            self._columns.take(feed.slot, value, utc_ns, now_utc_ns, now_mono_ns, doubt)
        thing.health.reads += 1
        if retained:
            if thing.there is False:  # what a thing said before it left is its last word, not its present one
                self._columns.spoil([one.slot for one in feeds], Quality.BAD | Quality.COMM, now_utc_ns)
        else:
            self._available(thing, True)

    def _available(self, thing: Thing, there: bool) -> None:
        thing.there = there
        if there:
            thing.health.state = State.ONLINE
        elif thing.health.state is not State.DISCONNECTED:
            self.lose(thing)

    def lose(self, thing: Thing) -> None:
        """A thing is gone."""
        thing.health.state = State.DISCONNECTED
        self._columns.spoil(thing.slots, Quality.BAD | Quality.COMM, self._now()[0])

    def lose_all(self) -> None:
        """The broker is gone, and with it everybody."""
        for thing in self.things:
            thing.there = None
            self.lose(thing)

    def silent(self, now_utc_ns: int) -> None:
        """Who has told nothing for longer than its tags allow is not there, whatever its connection says."""
        for thing in self.things:
            told = thing.health.online and thing.health.reads
            if told and not any(self._columns.fresh(one, now_utc_ns) for one in thing.slots):
                self.lose(thing)


def _value(message: object, feed: Feed) -> float:
    found = field_of(message, feed.place.path)
    if feed.place.values:
        if not isinstance(found, str) or found not in feed.place.values:
            raise PayloadError(f"{str(found)[:40]!r} is none of {', '.join(feed.place.values)}")
        return feed.place.values[found]
    return number_of(found) * feed.scale + feed.offset
