"""Where something is, in words: the label of the device, node or part behind a tag or source name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

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

    def of(self, source: str) -> Label:
        """Of a tag, device, node or part; a source that nobody labelled is its own label."""
        words = source.split(".")
        keys = [source, ".".join(words[:2]), words[0]] if len(words) > 1 else [source]
        for key in keys:
            if key in self.labels:
                return self.labels[key]
        return Label(source, source)
