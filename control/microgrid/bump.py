"""What a running controller's commands would do if other parameters came into force now. Pure: asking moves nothing.

Nearly all laws take other parameters without a bump by their form: they go on from what is commanded, and the last
stage (:mod:`gwanje.control.microgrid.layers.commands`) lets nothing beyond its ramps. What it does not hold back are
bounds that come down onto a command, and limits of loads and plants that are taken at once when power is short or too
much. So those are reckoned here with the parameters in force and with the others; the difference is the bump.
"""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.control.microgrid.controller import ISLAND_LAWS, MicrogridController
from gwanje.control.microgrid.layers.fleet import Bounds, bounds
from gwanje.control.microgrid.layers.flexible import dim_share
from gwanje.control.microgrid.layers.supervisor import ROOM_RESERVE
from gwanje.control.microgrid.modes.types import Law, Mode
from gwanje.control.microgrid.settings import Settings

STEADY = (Mode.CONNECTED, Mode.ISLANDED)
"""Modes in which nothing is under way that a change could cut short."""


@dataclass(frozen=True, slots=True)
class Bump:
    """The greatest move of a command that no ramp would hold back.

    Attributes:
        w: how far, W; 0 for none.
        ko: of what, for people.
        en: of what, for people.
    """

    w: float = 0.0
    ko: str = ""
    en: str = ""


def bump(controller: MicrogridController, after: Settings) -> Bump:
    """The bump of other parameters of the same devices, between two periods."""
    found = [*_batteries(controller, after), *_flexible(controller, after), *_balance(controller, after)]
    return max(found, key=lambda one: one.w, default=Bump())


def _boxes(controller: MicrogridController, settings: Settings) -> list[Bounds]:
    charges = zip(controller.units.charge, settings.battery, strict=True)
    return [bounds(charge, one, settings.limits) for charge, one in charges]


def _batteries(controller: MicrogridController, after: Settings) -> list[Bump]:
    """Commands that the new bounds leave outside."""
    units, found = controller.units, []
    present = [float(one) for one in controller.commands.present[units.power_to]]
    for one, command_w, box in zip(after.battery, present, _boxes(controller, after), strict=True):
        if command_w == command_w:
            outside_w = max(command_w - box.high_w, box.low_w - command_w, 0.0)
            found.append(Bump(outside_w, one.label_ko or one.name, one.label_en or one.name))
    return found


def _flexible(controller: MicrogridController, after: Settings) -> list[Bump]:
    """Limits below a new floor, and lamps that would be dimmed otherwise."""
    now, found = controller.settings, []
    classes = [[(one.rated_w, one.floor) for one in each.lamp_class] for each in (now, after)]
    for one, limit_w in zip(after.flexible, controller.supervisor.flexible_limits_w, strict=True):
        raised_w = max(one.floor_w - limit_w, 0.0)
        if one.command == "dim_command" and limit_w < one.rated_w - 1.0:
            old, new = (dim_share(limit_w, each) for each in classes)
            raised_w = max(raised_w, abs(new - old) * one.rated_w)
        found.append(Bump(raised_w, one.label_ko or one.load, one.label_en or one.load))
    return found


def _balance(controller: MicrogridController, after: Settings) -> list[Bump]:
    """Power that would be short or too much at once: loads and plants would give way for it."""
    short_w, surplus_w = (
        new - old for old, new in zip(_taken(controller, controller.settings), _taken(controller, after), strict=True)
    )
    return [
        Bump(max(short_w, 0.0), "유연 부하 또는 부하 차단", "flexible loads, or loads that are shed"),
        Bump(max(surplus_w, 0.0), "재생에너지 출력 제한", "curtailment of generation"),
    ]


def _taken(controller: MicrogridController, settings: Settings) -> tuple[float, float]:
    """What is short and what is too much with some settings, W."""
    units = controller.units
    if controller.law in ISLAND_LAWS:
        boxes = [box for box, usable in zip(_boxes(controller, settings), units.usable, strict=True) if usable]
        share, commanded_w = 1.0 - 0.5 * ROOM_RESERVE, units.commanded_w()
        over_w = commanded_w - share * sum(box.high_w for box in boxes)
        under_w = share * sum(box.low_w for box in boxes) - commanded_w
        return max(over_w, 0.0), max(under_w, 0.0)
    if controller.law is Law.OFF:
        return 0.0, 0.0
    unserved_w, seen_w = controller.tie.kernel.unserved_w, controller.image.get("grid.tie.import_w")
    import_w = seen_w if seen_w == seen_w else controller.tie.expected_w
    if import_w != import_w:
        return 0.0, 0.0
    allowed_w = controller.supervisor.allowed_with_w(settings.demand, controller.now_s)
    short_w = max(min(unserved_w, import_w - allowed_w), 0.0)
    return short_w, max(min(-unserved_w, settings.setpoint.import_min_w - import_w), 0.0)
