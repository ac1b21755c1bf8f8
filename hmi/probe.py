"""Whether a window can be opened here. Qt ends the process when it cannot, so another process tries first."""

from __future__ import annotations

import os
import subprocess
import sys

_TRY = "from PySide6.QtGui import QGuiApplication; QGuiApplication(['gwanje'])"
PROBE_TIMEOUT_S = 10.0
"""A display that does not answer within this is no display."""


class WindowProbe:
    """Tries in the background to open the display, while this process loads its own modules."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        chosen = os.environ.get("QT_QPA_PLATFORM")
        if chosen or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY"):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TRY],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

    def trouble(self) -> str:
        """One line that says why no window can be opened; empty when one can."""
        if self._process is None:
            return "no display on this machine"
        try:
            _, errors = self._process.communicate(timeout=PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return "the display does not answer"
        if self._process.returncode == 0:
            return ""
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        reason = next((line for line in lines if "could not" in line or "needed" in line), "")
        return f"no window can be opened ({reason})" if reason else "no window can be opened"
