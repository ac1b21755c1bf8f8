"""What is shown of a dry run in an island; :mod:`gwanje.hmi.response_picture` paints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gwanje.control.tuning.island_run import LOOK_S, STEP_SHARE, IslandTried
from gwanje.control.tuning.picture import ALIKE_SHARE, COLUMNS, KW, Compared, table, whole, word
from gwanje.control.tuning.recording import TICK_S, Floats
from gwanje.control.tuning.registry import Parameter
from gwanje.control.tuning.responses import envelope

SHOWN_S = 6.0
"""Of the step: by then the frequency is back."""
DRAWN_MAX = 12_000
"""Points of a curve: two minutes."""


def island_notes(tried: IslandTried, stretch_s: float, lang: str) -> list[str]:
    """What is model and what is real, and what happens in it."""
    step = f"{tried.step_w * KW:.0f} kW"
    share = f"{100 * STEP_SHARE:.0f} %"
    if lang == "ko":
        found = [
            "모델: 사이트의 모의 마이크로그리드(gwanje scenario), 50 ms 주기, 지연 20 ms. 제어기는 실제와 같음.",
            f"독립 운전에서 부하가 그리드 형성 출력의 {share} ({step}) 늘어남",
        ]
        return [*found, f"이어서 {stretch_s:.0f} s 동안 부하가 4초마다 변함"] if stretch_s else found
    found = [
        "Model: the site's simulated microgrid (gwanje scenario), every 50 ms, 20 ms late. Controller: the real one.",
        f"In an island the load grows by {share} of the forming power ({step})",
    ]
    return [*found, f"Then, for {stretch_s:.0f} s, the load changes every 4 s"] if stretch_s else found


def island_picture(
    changes: Sequence[tuple[Parameter, float]], tried: IslandTried, rows: Compared, said: Sequence[str], lang: str
) -> dict[str, Any]:
    """The picture's data."""
    before, after = tried.before, tried.after
    panels = [
        _step_panel("island_step", "deviation", before.step_hz, after.step_hz, lang),
        _step_panel("island_command", "command", _moved_kw(before.step_w), _moved_kw(after.step_w), lang),
    ]
    if len(before.stretch_hz):
        panels.append(_stretch_panel(before.stretch_hz, after.stretch_hz, lang))
    return whole(changes, panels, table(rows, lang), said, lang)


def _moved_kw(command_w: Floats) -> Floats:
    moved: Floats = (command_w - command_w[0]) * KW
    return moved


def _step_panel(name: str, axis: str, before: Floats, after: Floats, lang: str) -> dict[str, Any]:
    shown = round(min(SHOWN_S, LOOK_S) / TICK_S)
    x = [round(k * TICK_S, 3) for k in range(shown)]

    def line(values: Floats) -> dict[str, Any]:
        y = [round(float(one), 5) for one in values[:shown]]
        return {"x": x, "low": y, "high": y}

    apart = float(np.abs(after[:shown] - before[:shown]).max())
    alike = f" · {word('alike', lang)}" if apart <= ALIKE_SHARE * float(np.abs(before[:shown]).max()) else ""
    return {
        "title": word(name, lang) + alike,
        "x": word("seconds", lang),
        "y": word(axis, lang),
        "target": 0.0,
        "lines": {"before": line(before), "after": line(after)},
    }


def _stretch_panel(before: Floats, after: Floats, lang: str) -> dict[str, Any]:
    def line(values: Floats) -> dict[str, Any]:
        if len(values) <= DRAWN_MAX:  # a curve; of a longer stretch all between least and greatest value
            y = values.round(5).tolist()
            return {"x": (np.arange(len(values)) * TICK_S).round(4).tolist(), "low": y, "high": y}
        low, high = envelope(values, COLUMNS)
        x = ((np.arange(len(low)) + 0.5) * len(values) * TICK_S / len(low)).round(4).tolist()
        return {"x": x, "low": low.round(5).tolist(), "high": high.round(5).tolist()}

    return {
        "title": word("island_stretch", lang),
        "x": word("seconds", lang),
        "y": word("deviation", lang),
        "target": 0.0,
        "wide": True,
        "lines": {"before": line(before), "after": line(after)},
    }
