"""Where something is, in words: the label of the device, node or part behind a tag or source name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gwanje.core.messages import AlarmChange
from gwanje.hmi.display.model import Label


class Labelled(Protocol):
    """A device or node as the site describes it."""

    @property
    def name(self) -> str:
        """Short name, such as ``ess1``."""

    @property
    def prefix(self) -> str:
        """Beginning of its tags, such as ``jincheon.ess1``."""

    @property
    def label_ko(self) -> str:
        """For operators."""

    @property
    def label_en(self) -> str:
        """For operators."""


@dataclass(frozen=True, slots=True)
class Places:
    """Labels by name, by tag prefix and by the part of a ``system`` tag."""

    labels: Mapping[str, Label]

    @classmethod
    def build(cls, things: Iterable[Labelled], parts: Mapping[str, Label]) -> Places:
        """Of devices and nodes, and of the parts of the program."""
        labels = dict(parts)
        for thing in things:
            label = Label(thing.label_ko, thing.label_en)
            labels[thing.name] = labels[thing.prefix] = label
        return cls(labels)

    def of_alarm(self, change: AlarmChange) -> Label:
        """Where an alarm stands: as the core says, else by its source."""
        if not (change.place_ko or change.place_en):
            return self.of(change.source)
        return Label(change.place_ko or change.place_en, change.place_en or change.place_ko)

    def of(self, source: str) -> Label:
        """Of a tag, device, node or part; a source that nobody labelled is its own label."""
        words = source.split(".")
        keys = [source, ".".join(words[:2]), words[0]] if len(words) > 1 else [source]
        for key in keys:
            if key in self.labels:
                return self.labels[key]
        return Label(source, source)


def without_place(text: str, place: str) -> str:
    """A text that stands beside its place: what it begins with is not said twice.

    >>> without_place("Streetlights: back online", "Streetlights"), without_place("상가: 유리 파손", "상가")
    ('back online', '유리 파손')
    >>> without_place("Streetlightship sails", "Streetlights"), without_place("ESS", "ESS")
    ('Streetlightship sails', 'ESS')
    """
    rest = text[len(place) :]
    if not place or not text.startswith(place) or not rest or rest[0] not in ": ·":
        return text
    return rest.lstrip(": ·") or text
