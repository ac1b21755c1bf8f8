"""What can be clicked: an object of the plant with the value that it shows and the point at which it is operated."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.core.tags import TagTable
from gwanje.hmi.display.model import Display, Label, Quantity


@dataclass(frozen=True, slots=True)
class PlantObject:
    """One object of a display.

    Attributes:
        key: unique on the display; the prefix of its device.
        label: as it is called.
        value: what it shows.
        point: tag that is commanded; empty where nothing is.
        online: 1 while its device answers.
    """

    key: str
    label: Label
    value: Quantity
    point: str
    online: Quantity | None = None

    @property
    def measured(self) -> str:
        """The first tag behind its value: what can be substituted."""
        return self.value.expression.tags[0]

    @property
    def area(self) -> str:
        """First word of its tags; an area of authority where the site has one of that name."""
        return self.key.partition(".")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Names by which a safety tag reaches it."""
        return (self.key, self.measured, self.point) if self.point else (self.key, self.measured)


def _prefix(quantity: Quantity) -> str:
    return quantity.expression.tags[0].rpartition(".")[0]


def _label(quantity: Quantity, tags: TagTable) -> Label:
    """What the tag behind a quantity is called."""
    tag = tags.get(quantity.expression.tags[0])
    return Label(tag.description_ko or tag.name, tag.description_en or tag.name)


BREAKER, TIE = "breaker", "tie"


def objects_of(display: Display, tags: TagTable) -> dict[str, PlantObject]:
    """Objects of a single-line diagram: ``breaker``, ``tie``, and each element by the prefix of its value's tag."""
    grid = display.grid
    found = {
        BREAKER: PlantObject(_prefix(grid.breaker), _label(grid.breaker, tags), grid.breaker, grid.breaker_point),
        TIE: PlantObject(_prefix(grid.tie), _label(grid.tie, tags), grid.tie, grid.tie_point),
    }
    for element in display.elements:
        key = _prefix(element.value)
        found[key] = PlantObject(key, element.label, element.value, element.point, element.online)
    return found
