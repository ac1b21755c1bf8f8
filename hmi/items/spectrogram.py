"""A spectrogram painted straight from its ring: two blits, no conversion, nothing copied."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF
from PySide6.QtGui import QImage

from gwanje.hmi.items.ink import Ink
from gwanje.hmi.spectra import N_BANDS, N_COLUMNS, Ring
from gwanje.hmi.style import Style

LEAST_SPAN = 90.0
"""Levels (of 255 over 100 dB) that the colours are spread over at least: a quiet street must look quiet."""
DEFAULT_CONTRAST = (40.0, 200.0)
HOLD_COLUMNS = 50
"""Columns that may be missing before the picture moves on in silence: blocks may come once a second."""


def color_table(style: Style, quiet: float, loud: float) -> list[int]:
    """256 colours: the quiet token up to the level ``quiet``, the loud one from the level ``loud``."""
    low, high = style.color("spectrum_low"), style.color("spectrum_high")
    ends = list(zip((low.red(), low.green(), low.blue()), (high.red(), high.green(), high.blue()), strict=True))
    table = []
    for level in range(256):
        share = min(1.0, max(0.0, (level - quiet) / max(1.0, loud - quiet)))
        red, green, blue = (round(a + (b - a) * share) for a, b in ends)
        table.append(0xFF000000 | red << 16 | green << 8 | blue)
    return table


def contrast_of(ring: Ring) -> tuple[float, float] | None:
    """Levels of the quietest tenth and of the loudest in the picture, at least :data:`LEAST_SPAN` apart."""
    heard = ring.levels[ring.levels > 0]
    if len(heard) < N_BANDS:
        return None
    quiet, loud = np.percentile(heard, (10, 99.9))
    return float(quiet), float(max(loud, quiet + LEAST_SPAN))


def image_of(ring: Ring, style: Style) -> QImage:
    """An image over the ring's own memory; the ring must outlive it."""
    image = QImage(ring.levels.data, N_COLUMNS, N_BANDS, N_COLUMNS, QImage.Format.Format_Indexed8)
    image.setColorTable(color_table(style, *DEFAULT_CONTRAST))
    return image


def set_contrast(image: QImage, style: Style, quiet: float, loud: float) -> None:
    """Spread the colours over what there is to hear."""
    image.setColorTable(color_table(style, quiet, loud))


def moved_columns(ring: Ring, now_mono_ns: int) -> int:
    """Columns by which the picture has moved on since the newest sound, 0…N_COLUMNS."""
    if not ring.newest_mono_ns:
        return N_COLUMNS
    return min(max(0, ring.silent_columns(now_mono_ns) - HOLD_COLUMNS), N_COLUMNS)


def draw(ink: Ink, rect: QRectF, image: QImage, ring: Ring, now_mono_ns: int) -> None:
    """The ring with its newest column at the right edge; blank where nothing was heard."""
    ink.box(rect, "spectrum_low")
    blank = moved_columns(ring, now_mono_ns)
    n = N_COLUMNS - blank
    column = rect.width() / N_COLUMNS
    newest = ring.next_column % N_COLUMNS
    first = (newest + blank) % N_COLUMNS
    left = rect.left()
    while n > 0:
        run = min(n, N_COLUMNS - first)
        target = QRectF(left, rect.top(), run * column, rect.height())
        ink.painter.drawImage(target, image, QRectF(first, 0, run, N_BANDS))
        left += run * column
        first = (first + run) % N_COLUMNS
        n -= run
