"""A spectrogram painted straight from its ring: two blits, no conversion, nothing copied."""

from __future__ import annotations

from PySide6.QtCore import QRectF
from PySide6.QtGui import QImage

from gwanje.hmi.items.ink import Ink
from gwanje.hmi.spectra import N_BANDS, N_COLUMNS, Ring
from gwanje.hmi.style import Style

HOLD_COLUMNS = 50
"""Columns that may be missing before the picture moves on in silence: blocks may come once a second."""


def color_table(style: Style) -> list[int]:
    """256 colours from the quiet to the loud token."""
    low, high = style.color("spectrum_low"), style.color("spectrum_high")
    table = []
    for level in range(256):
        share = level / 255
        red, green, blue = (
            round(a + (b - a) * share)
            for a, b in zip(
                (low.red(), low.green(), low.blue()), (high.red(), high.green(), high.blue()), strict=True
            )
        )
        table.append(0xFF000000 | red << 16 | green << 8 | blue)
    return table


def image_of(ring: Ring, table: list[int]) -> QImage:
    """An image over the ring's own memory; the ring must outlive it."""
    image = QImage(ring.levels.data, N_COLUMNS, N_BANDS, N_COLUMNS, QImage.Format.Format_Indexed8)
    image.setColorTable(table)
    return image


def moved_columns(ring: Ring, now_mono_ns: int) -> int:
    """Columns by which the picture has moved on since the newest sound."""
    return max(0, ring.silent_columns(now_mono_ns) - HOLD_COLUMNS)


def draw(ink: Ink, rect: QRectF, image: QImage, ring: Ring, now_mono_ns: int) -> None:
    """The ring with its newest column at the right edge; blank where nothing was heard."""
    ink.box(rect, "spectrum_low")
    blank = moved_columns(ring, now_mono_ns)
    n = N_COLUMNS - blank
    if n <= 0 or not ring.newest_mono_ns:
        return
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
