"""What can be clicked: an object of the plant with the value that it shows and the point at which it is operated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gwanje.core.authority.areas import Area, AreaMap
from gwanje.core.commands.operations import Operations
from gwanje.core.tags.table import TagTable
from gwanje.hmi.display.model import Display, Label, Quantity


@dataclass(frozen=True, slots=True)
class PlantObject:
    """One object of a display.

    Attributes:
        key: unique on the display; the prefix of its device.
        label: as it is called.
        value: what it shows.
        point: tag that is commanded; empty where nothing is.
        area: of authority over the point; empty where it has none.
        measured_area: of authority over the value.
        taken: points of programs that leave automatic control when a person operates this one.
    """

    key: str
    label: Label
    value: Quantity
    point: str
    area: str = ""
    measured_area: str = ""
    taken: tuple[str, ...] = ()

    @property
    def measured(self) -> str:
        """The first tag behind its value: what can be substituted."""
        return self.value.expression.tags[0]

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


def objects_of(
    display: Display, tags: TagTable, areas: Sequence[Area], operations: Operations
) -> dict[str, PlantObject]:
    """Objects of a single-line diagram: ``breaker``, ``tie``, and each element by the prefix of its value's tag."""
    grid, area_map = display.grid, AreaMap(areas)

    def made(label: Label, value: Quantity, point: str) -> PlantObject:
        measured = value.expression.tags[0]
        area = area_map.of(point) if point else ""
        operation = operations.get(point)
        taken = (point, *(operation.takes if operation is not None else ())) if point else ()
        return PlantObject(_prefix(value), label, value, point, area, area_map.of(measured), taken)

    found = {
        BREAKER: made(_label(grid.breaker, tags), grid.breaker, grid.breaker_point),
        TIE: made(_label(grid.tie, tags), grid.tie, grid.tie_point),
    }
    for element in display.elements:
        found[_prefix(element.value)] = made(element.label, element.value, element.point)
    return found
