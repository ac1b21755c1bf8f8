"""Which of the microgrid's parameters a running controller takes, and why it does not take the others. Pure.

What is not named here is live: :meth:`gwanje.control.microgrid.controller.MicrogridController.retune` takes it between
two periods. What shapes arrays, periods, devices or protection waits for a restart. And in a running city the part
``control`` holds the import (:mod:`gwanje.control.microgrid.live.followed`): what only this controller's own tie-line
law looks at is of no use there, and said to be somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from gwanje.control.microgrid.params import SetpointParams, TieParams
from gwanje.control.microgrid.settings import Settings, Tie


@dataclass(frozen=True, slots=True)
class Held:
    """Why a running controller does not take a parameter.

    Attributes:
        ko: for people.
        en: for people.
        restart: a restart takes it from the site's file; otherwise something else is to be set instead.
    """

    ko: str
    en: str
    restart: bool = True


CONNECTION = Held("연계점과 보호 한계", "the connection and its limits of protection")
PERIODS = Held("주기와 계측 유효 시간은 기동 때 정해짐", "periods and hold times are laid out at the start")
DEVICE = Held("설비 자체의 값", "a fact of the device")
PROTECTION = Held("보호 계전기와 협조된 값", "coordinated with the protection relays")
INTERVAL = Held("계량기의 수요 시한", "the meter's own interval")

_GROUPS: Mapping[str, Held] = {
    "site": CONNECTION, "timing": PERIODS, "battery": DEVICE, "generator": DEVICE, "source": DEVICE,
}  # fmt: skip
_PROTECTION = (
    "rocof_hz_per_s", "rocof_window_s", "frequency_low_hz", "frequency_high_hz", "confirm_ticks", "vanishing_w",
    "meters_apart_hz", "under_hz", "under_voltage_pu", "under_voltage_s",
)  # fmt: skip
"""Of the guard: what it takes for an islanding, and when an island sheds."""
_RELAY_MODES = (
    "breaker_s_max", "close_attempts_max", "close_pause_s", "blackout_s", "enter_service_s", "enter_voltage_low_pu",
    "enter_voltage_high_pu", "enter_frequency_low_hz", "enter_frequency_high_hz", "lost_voltage_low_pu",
    "lost_voltage_high_pu", "lost_frequency_low_hz", "lost_frequency_high_hz",
)  # fmt: skip
_DEVICE_MODES = ("breaker_close_s", "order_delay_s_min", "order_delay_s_max")
_LIVE_TIE = ("stuck_w", "correction_share", "battery_hold_s")
"""Of the tie-line law, what is looked at while the part ``control`` holds the import."""
_LIVE_SETPOINT = ("import_min_w", "soc_target", "soc_restore_s")
_POINTS: Mapping[tuple[str, str], str] = {
    ("demand", "cap_w"): "microgrid.limit.demand_cap_w",
    ("reactive", "import_target_var"): "microgrid.limit.reactive_import_var",
}


def _elsewhere(group: str, key: str, there: Any) -> Held:
    """A parameter of the part ``control``, where it has one of that name."""
    name = f": {group}.{key}" if key in {one.name for one in fields(there)} else ""
    return Held(
        f"수전은 제어 파트의 루프가 유지함{name}", f"the loop of the part control holds the import{name}", restart=False
    )


def _at_point(point: str) -> Held:
    return Held(f"운영자가 운전 중에 정함: {point}", f"operators set it while it runs: {point}", restart=False)


_FIELDS: Mapping[tuple[str, str], Held] = {
    **{("guard", key): PROTECTION for key in _PROTECTION},
    **{("modes", key): PROTECTION for key in _RELAY_MODES},
    **{("modes", key): DEVICE for key in _DEVICE_MODES},
    **{("modes", key): CONNECTION for key in ("rating_va", "nominal_hz")},
    **{(group, "rated_w"): DEVICE for group in ("load", "flexible", "lamp_class")},
    **{
        ("tie", one.name): _elsewhere("tie_line", one.name, TieParams)
        for one in fields(Tie) if one.name not in _LIVE_TIE
    },
    **{
        ("setpoint", one.name): _elsewhere("setpoint", one.name, SetpointParams)
        for one in fields(SetpointParams) if one.name not in _LIVE_SETPOINT
    },
    ("demand", "quarter_s"): INTERVAL,
    **{place: _at_point(point) for place, point in _POINTS.items()},
}  # fmt: skip


def held(group: str, key: str) -> Held | None:
    """Why a running controller does not take a parameter; ``None`` for one that it takes.

    Args:
        group: table of ``microgrid/control.toml``.
        key: in it.
    """
    return _GROUPS.get(group) or _FIELDS.get((group, key))


def not_live(before: Settings, after: Settings) -> list[str]:
    """What differs and is only taken by a new start, as ``table.key``; words and flags are such too."""
    found = []
    for one in fields(Settings):
        old, new = getattr(before, one.name), getattr(after, one.name)
        if is_dataclass(old):
            found += _differing(one.name, old, new)
        elif len(old) != len(new):
            found.append(one.name)
        else:
            for was, is_now in zip(old, new, strict=True):
                found += _differing(one.name, was, is_now)
    return found


def _differing(group: str, old: Any, new: Any) -> list[str]:
    found = []
    for one in fields(old):
        if getattr(old, one.name) == getattr(new, one.name):
            continue
        why = held(group, one.name)
        number = "low" in one.metadata and one.type in ("int", "float")
        if not number or (why is not None and why.restart):
            found.append(f"{group}.{one.name}")
    return found
