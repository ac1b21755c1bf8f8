"""Where something is, in words: the label of the device, node or part behind a tag or source name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gwanje.core.bus.messages import AlarmChange
from gwanje.core.tags.table import TagTable
from gwanje.hmi.display.model import Label

_NAMES = re.compile(r"\b(?:[a-z0-9_]+(?:\.[a-z0-9_]+)+|part_[a-z]+)\b", re.ASCII)
"""What may be the name of a tag or device, or of one of the program's parts, within a text."""


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
        ko, en = change.place_ko or change.place_en, change.place_en or change.place_ko
        return self.named(Label(ko, en) if ko else None, change.source)

    def named(self, place: Label | None, source: str) -> Label:
        """A place as the core says it, else by its source; the core names parts by their tags, such as part_media."""
        if place is None:
            return self.of(source)
        return self.labels.get(place.en, place)

    def of(self, source: str) -> Label:
        """Of a tag, device, node or part; a source that nobody labelled is its own label."""
        words = source.split(".")
        keys = [source, ".".join(words[:2]), words[1], words[0]] if len(words) > 1 else [source]
        for key in keys:
            if key in self.labels:
                return self.labels[key]
        return Label(source, source)


def in_words(text: str, tags: TagTable, places: Places, lang: str) -> str:
    """A text with what its tags are called in the place of their names, and labels for the names of parts."""

    def word(found: re.Match[str]) -> str:
        name = found.group()
        if name in tags:
            tag = tags.get(name)
            return (tag.description_ko if lang == "ko" else tag.description_en) or name
        return places.labels[name].of(lang) if name in places.labels else name

    return _NAMES.sub(word, text)


def without_place(text: str, place: str) -> str:
    """A text that stands beside its place: what it begins with is not said twice.

    >>> without_place("Streetlights: back online", "Streetlights"), without_place("상가: 유리 파손", "상가")
    ('back online', '유리 파손')
    >>> without_place("Streetlightship sails", "Streetlights"), without_place("ESS", "ESS")
    ('Streetlightship sails', 'ESS')
    >>> without_place("Core is dead", "Core"), without_place("제어 루프 응답 없음", "제어 루프")
    ('Core is dead', '응답 없음')
    """
    rest = text[len(place) :]
    if not place or not text.startswith(place) or not rest or rest[0] not in ": ·":
        return text
    if rest[0] == " " and rest[1:2].isascii() and rest[1:2].islower():
        return text  # an English sentence: without its subject it says nothing
    return rest.lstrip(": ·") or text
