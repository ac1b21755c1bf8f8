"""The bundled font: NanumSquare Regular and Bold, unmodified, under the SIL Open Font License (``OFL.txt``).

A control room's screen must look the same on every machine, and a bare one has no Hangul at all.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QFontDatabase

FAMILY = "NanumSquare"
FILES = ("NanumSquareR.ttf", "NanumSquareB.ttf")


class FontError(Exception):
    """A font file is missing or broken; the text says which."""


def load_fonts() -> None:
    """Make the bundled font known to Qt; needs a QGuiApplication.

    Raises:
        FontError: a file cannot be used.
    """
    for name in FILES:
        path = Path(__file__).with_name(name)
        if QFontDatabase.addApplicationFont(str(path)) < 0:
            raise FontError(f"font {name} cannot be loaded from {path.parent}")
