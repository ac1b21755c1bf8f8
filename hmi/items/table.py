"""Columns of a table: fixed ones as wide as their widest text, the others share what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRectF

from gwanje.hmi.style import Style


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        sample: the widest text it must hold; empty for a column that takes a share.
        font: of the sample.
        share: of the room that the fixed columns leave.
    """

    name: str
    sample: str = ""
    font: str = "body"
    share: float = 0.0


def rooms(style: Style, rect: QRectF, columns: Sequence[Column], gap: float = 10.0) -> dict[str, QRectF]:
    """Each column's rectangle, as high as ``rect``; ``gap`` is of the reference layout."""
    space = style.px(gap)
    fixed = {one.name: style.width_of(one.sample, one.font) + 1 for one in columns if one.sample}
    left_over = max(0.0, rect.width() - sum(fixed.values()) - space * (len(columns) - 1))
    total = sum(one.share for one in columns) or 1.0
    found: dict[str, QRectF] = {}
    left = rect.left()
    for one in columns:
        width = fixed.get(one.name, left_over * one.share / total)
        found[one.name] = QRectF(left, rect.top(), width, rect.height())
        left += width + space
    return found
