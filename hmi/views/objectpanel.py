"""A panel with objects of the plant: clicked, reached by keyboard, told by tooltip."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QMouseEvent

from gwanje.hmi.live import Live
from gwanje.hmi.model.objects import objects_of
from gwanje.hmi.views.objectmarks import hint
from gwanje.hmi.views.panel import Panel, Part, Ui


class ObjectPanel(Panel):
    """A subclass says where its objects are and which parts show them.

    Attributes:
        objects: by key, see :func:`objects_of`.
        on_object: called with the key of the object that was clicked.
        focus: key of the object that the keyboard is on; empty for none.
    """

    def __init__(self, ui: Ui, title_key: str, live: Live) -> None:
        super().__init__(ui, title_key)
        self._live = live
        self.objects = objects_of(live.display, live.site.tags, live.site.areas, live.site.operations)
        self.on_object: Callable[[str], None] = lambda _key: None
        self.focus = ""
        self.setMouseTracking(True)

    def object_at(self, _at: QPoint) -> str:
        """Key of the object under a point; empty for none."""
        return ""

    def parts_of(self, _key: str) -> list[Part]:
        """Parts that show an object."""
        return []

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: open the faceplate of the object."""
        key = self.object_at(event.position().toPoint())
        if key and event.button() == Qt.MouseButton.LeftButton:
            self._set_focus(key)
            self.on_object(key)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Qt: show what can be clicked."""
        over = self.object_at(event.position().toPoint())
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def hint_at(self, at: QPoint) -> str:
        """See :class:`Panel`."""
        key = self.object_at(at)
        return hint(self.ui.texts, self._live.desk, self.objects[key]) if key else ""

    def move_focus(self, step: int) -> None:
        """The keyboard goes on to the next object."""
        keys = list(self.objects)
        at = keys.index(self.focus) + step if self.focus else 0
        self._set_focus(keys[at % len(keys)])

    def _set_focus(self, key: str) -> None:
        before, self.focus = self.focus, key
        for one in (before, key):
            for part in self.parts_of(one) if one else ():
                self.repaint_part(part)
