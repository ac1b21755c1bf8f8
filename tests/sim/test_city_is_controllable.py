"""The hardest quarter of the measured day can be balanced through the delays of the field, and cannot be left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gwanje.io.sim.twins import Ess

MakeCity = Callable[..., Any]
QUARTER_S = 900.0


def textbook(wanted_w: float, gain_per_s: float = 3.0) -> Callable[[dict[str, float]], dict[str, float]]:
    """Feed-forward of the net load that the meters show, and an integrator on the tie-line's error; shared equally."""
    correction_w = 0.0

    def control(seen: dict[str, float]) -> dict[str, float]:
        nonlocal correction_w
        stored_w = seen["ess1"] + seen["ess2"]
        net_load_w = seen["tie"] + stored_w
        room_down, room_up = -1_000_000.0, 1_000_000.0
        correction_w += gain_per_s * 0.01 * (seen["tie"] - wanted_w)
        correction_w = min(max(correction_w, -200_000.0), 200_000.0)
        total_w = min(max(net_load_w - wanted_w + correction_w, room_down), room_up)
        return {"ess1": total_w / 2, "ess2": total_w / 2}

    return control


def test_a_textbook_controller_holds_the_tie_line(city: MakeCity) -> None:
    run = city()
    run.run(textbook(0.0), QUARTER_S)
    assert run.plant.series_s == pytest.approx(14_400.0 + QUARTER_S, abs=0.05)
    assert run.rms_pct(0.0) <= 2.0


def test_without_control_the_clouds_reach_the_utility(city: MakeCity) -> None:
    run = city(speed=10.0)
    run.run(lambda _seen: {}, QUARTER_S / 10.0)
    assert run.rms_pct(0.0, after_s=1.0) > 10.0


def test_when_the_controller_dies_the_batteries_fall_back(city: MakeCity) -> None:
    run = city()
    run.run(textbook(0.0), 20.0)
    units = [twin for twin in run.plant.twins.values() if isinstance(twin, Ess)]
    assert all(abs(twin.state.discharge_w) > 100_000.0 for twin in units)
    run.run(lambda _seen: {}, 7.0)
    assert all(abs(twin.state.discharge_w) < 1.0 for twin in units)
