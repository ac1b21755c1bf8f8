"""What people have done to an object, drawn at the object: reserved, tagged, being operated."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF

from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.table import TagTable
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.picture import Operation
from gwanje.hmi.desk.procedure import ENDED
from gwanje.hmi.desk.units import Scale
from gwanje.hmi.i18n import Texts
from gwanje.hmi.items import symbols
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.model.alarms import AlarmModel
from gwanje.hmi.model.objects import PlantObject
from gwanje.hmi.views.values import why_text

SHOWN_NS = 8 * NS_PER_S
"""How long the end of an operation stays at the object."""
KINDS = ("danger", "caution", "maintenance", "information")


@dataclass(frozen=True, slots=True)
class Marks:
    """Of one object.

    Attributes:
        tag: the strongest safety tag's kind; empty for none.
        reserved: somebody has selected it; ``own`` this desk, ``other`` another one.
        operation: under way, or just ended.
        out: an alarm of it is out of service.
    """

    tag: str = ""
    reserved: str = ""
    operation: Operation | None = None
    out: bool = False


def marks_of(desk: Desk, alarms: AlarmModel, one: PlantObject, now_mono_ns: int) -> Marks:
    """What there is to draw at an object now."""
    hung = {tag.kind for tag in desk.safety_tags if tag.covers(*one.names)}
    kind = next((kind for kind in KINDS if kind in hung), "")
    operation = desk.operation_at(one.point) if one.point else None
    out = alarms.out_of_service(one.key)
    if operation is None:
        return Marks(kind, out=out)
    reserved = ""
    if operation.state not in ENDED:
        reserved = "own" if desk.is_own(operation) else "other"
    elif now_mono_ns - operation.since_mono_ns > SHOWN_NS:
        operation = None
    return Marks(kind, reserved, operation, out)


def operation_text(texts: Texts, tags: TagTable, operation: Operation) -> str:
    """Such as ``moving 100 kW``, ``selected (Kim)``."""
    state = texts(f"operation.{operation.state}")
    if operation.state == "selected":
        return f"{state} · {operation.author}"
    tag = tags.get(operation.point)
    at = int(operation.value) if operation.value == operation.value else -1
    value = texts.pick(*tag.states[at]) if 0 <= at < len(tag.states) else Scale.of_tag(tag).brief(operation.value)
    return f"{state} {value}"


def draw_marks(ink: Ink, box: QRectF, marks: Marks, out: str = "") -> None:
    """Corners around the object's square, its safety tag at the upper left, what is out of service at the lower right.

    ``out`` is the word for it.
    """
    if marks.out and out:
        style = ink.style
        width, height = style.width_of(out, "small") + style.px(4), style.line_height("small")
        tag = QRectF(box.right() + style.px(4), box.bottom() - height, width, height)
        ink.box(tag, "bar", "disabled")
        ink.text(tag, out, "small", "text", "center")
    if marks.reserved:
        symbols.reserved(ink, box, marks.reserved == "own")
    if marks.tag:
        style = ink.style
        symbols.safety_tag(ink, box.left() - style.px(17), box.top() + style.px(10), style.px(17), marks.tag)


def hint(texts: Texts, desk: Desk, one: PlantObject) -> str:
    """For the tooltip: name, tags with author and reason, substituted values with author and end."""
    lines = [one.label.of(texts.lang)]
    for tag in desk.safety_tags:
        if tag.covers(*one.names):
            lines.append(texts("operate.tagged_by", kind=texts(f"tag_kind.{tag.kind}"), user=tag.author,
                               reason=tag.reason))  # fmt: skip
    now = desk.clock.mono_ns()
    for override in desk.overrides:
        if override.point in one.value.expression.tags or override.point == one.point:
            minutes = max(0, (override.until_mono_ns - now) // (60 * NS_PER_S))
            lines.append(texts(f"mark.left_{override.kind}", user=override.author, minutes=minutes,
                               reason=override.reason))  # fmt: skip
    why = desk.why_not(area=one.area, writes=True)
    if not one.point:
        lines.append(texts("faceplate.no_point"))
    elif why:
        lines.append(why_text(texts, desk, why))
    return "\n".join(lines)
