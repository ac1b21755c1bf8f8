"""The number behind an alarm, in words for people."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import QRectF

from gwanje.core.bus.messages import AlarmChange
from gwanje.core.tags.quality import Quality
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.display.loader import CONVERSIONS
from gwanje.hmi.i18n import Texts
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.value import draw_marked, manual, number_text
from gwanje.hmi.live import Live
from gwanje.hmi.views.panel import Ui

_SHOWN_UNITS = {"W": "kW", "Wh": "kWh", "var": "kvar"}


def value_and_limit(change: AlarmChange) -> str:
    """What was read against what is allowed, such as ``58.4 °C > 55``; empty where there is no number."""
    if math.isnan(change.value):
        return ""
    unit = _SHOWN_UNITS.get(change.unit, change.unit)
    if not change.unit and 0 <= change.value <= 1 and 0 < change.limit < 1:
        unit = "%"
    factor = CONVERSIONS.get((change.unit, unit), 1.0)

    def digits(value: float) -> str:
        scaled = value * factor
        decimals = 0 if abs(scaled) >= 1000 else 1 if abs(scaled) >= 100 else 2 if abs(scaled) >= 1 else 3
        text = number_text(scaled, decimals)
        return text.rstrip("0").rstrip(".") if "." in text else text

    text = f"{digits(change.value)} {unit}".strip()
    if math.isnan(change.limit):
        return text
    return f"{text} {'>' if change.value >= change.limit else '<'} {digits(change.limit)}"


def value_of(ui: Ui, live: Live, change: AlarmChange) -> str:
    """The number behind an alarm: a state's word, a sound's confidence, or value and limit."""
    texts, site = ui.texts, live.site
    if change.source in site.tags and (states := site.tags.get(change.source).states):
        at = int(change.value) if math.isfinite(change.value) else -1
        return texts.pick(*states[at]) if 0 <= at < len(states) else ""
    if any(node.name == change.source for node in site.nodes):
        return "" if math.isnan(change.value) else texts("banner.confidence", value=number_text(change.value, 2))
    return value_and_limit(change)


def quality_of(live: Live, change: AlarmChange) -> int:
    """What is known now of the tag behind an alarm; 0 where its source is no tag."""
    if change.source not in live.site.tags:
        return 0
    readings = live.snapshot.read(live.site.tags.indices([change.source]).astype(np.int64))
    quality = int(readings.quality[0])
    return 0 if quality & Quality.NEVER else quality


def draw_alarm_value(ink: Ink, room: QRectF, ui: Ui, live: Live, change: AlarmChange) -> None:
    """The number behind an alarm; it carries M while a person has put in or holds its tag, "?" while that is uncertain.

    It is the number with which the alarm came, so the tag's falling silent later says nothing about it.
    """
    text, quality = value_of(ui, live, change), quality_of(live, change)
    marked = manual(quality)
    uncertain = bool(quality & Quality.UNCERTAIN)
    if text and (marked or uncertain):
        draw_marked(ink, room, text + ("?" if uncertain else ""), quality, "label", "text")
        return
    ink.text(room, text, "label", "live", elide=True)


def why_text(texts: Texts, desk: Desk, why: str) -> str:
    """Why something cannot be done, in words; empty for an empty key."""
    if not why:
        return ""
    words = desk.gate_words.of(texts.lang) if why == "why.read_only" else ""
    return f"{texts(why)} ({words})" if words else texts(why)


def count_text(n: int) -> str:
    """A count in at most four letters: 999, 1.0k, 12k."""
    return str(n) if n < 1_000 else f"{n / 1_000:.1f}k" if n < 9_950 else f"{n / 1_000:.0f}k"
