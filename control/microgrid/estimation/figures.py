"""The tags that a picture of the network becomes, and what operators are told of it in Korean and English."""

from __future__ import annotations

import math
from collections.abc import Collection

from gwanje.control.microgrid.estimation.gross_errors import GrossError
from gwanje.control.microgrid.estimation.model import Model
from gwanje.control.microgrid.estimation.picture import Known, Mode, Named, Picture
from gwanje.control.microgrid.estimation.settings import OWNER
from gwanje.core.tags.quality import Quality, is_bad

BAD = int(Quality.BAD)
RATIO_MAX = 1e9
"""Of the sum of squares, where readings have no solution at all: the limit of its tag."""
KINDS = {
    GrossError.STUCK: ("값이 멈춤", "stands still"),
    GrossError.TENFOLD: ("열 배 차이", "off by a factor of ten"),
    GrossError.THOUSANDFOLD: ("천 배 차이", "off by a factor of a thousand"),
    GrossError.SIGN: ("부호 반대", "has the wrong sign"),
    GrossError.SWAPPED: ("다른 계량기와 뒤바뀜", "exchanged with another"),
    GrossError.TIME_SHIFT: ("늦게 도착", "is late"),
    GrossError.OTHER: ("다른 계량기와 불일치", "disagrees with all others"),
}


def figures(picture: Picture, model: Model, meters: Collection[str], switches: Collection[str]) -> dict[str, Known]:
    """Tag → what it shows now; what is not there is not known.

    Args:
        picture: of this second.
        model: of the site.
        meters: those that are said to be wrong.
        switches: the same.
    """
    settings = model.settings
    found: dict[str, Known] = {}

    def put(name: str, known: Known) -> None:
        found[f"{OWNER}.{name}"] = known

    for bus, known in picture.voltages.items():
        put(f"{bus}.voltage_pu", known)
        put(f"{bus}.voltage_sigma_pu", Known(known.sigma, 0.0, known.quality & BAD))
    for bus, (active, reactive, lost) in picture.flows.items():
        for what, known in (("flow_w", active), ("flow_var", reactive), ("loss_w", lost)):
            put(f"{bus}.{what}", known)
    for bus, known in picture.loading.items():
        put(f"{bus}.loading", known)
    for name in dict.fromkeys(settings.reads().values()):
        put(f"{name}.meter_suspected", Known(float(name in meters), 0.0, 0))
    for name in dict.fromkeys(settings.switches().values()):
        put(f"{name}.switch_suspected", Known(float(name in switches), 0.0, 0))
    for name, known in _network(picture, len(meters)).items():
        put(f"network.{name}", known)
    return found


def _network(picture: Picture, n_suspected: int) -> dict[str, Known]:
    volts = [one for one in picture.voltages.values() if not is_bad(one.quality)]
    nothing = Known(math.nan, math.nan, BAD)
    solved = picture.mode is not Mode.UNKNOWN
    unsettled = 0 if picture.settled else int(Quality.UNCERTAIN)
    return {
        "state": Known(float(picture.mode), 0.0, 0),
        "chi2_ratio": nothing if math.isnan(picture.chi2_ratio) else Known(min(picture.chi2_ratio, RATIO_MAX), 0.0, 0),
        "removed_readings": Known(float(picture.n_removed), 0.0, unsettled) if solved else nothing,
        "doubted_readings": Known(float(picture.n_doubted), 0.0, unsettled) if solved else nothing,
        "suspected_meters": Known(float(n_suspected), 0.0, 0),
        "unobservable_buses": Known(float(len(picture.unobservable)), 0.0, 0),
        "voltage_min_pu": min(volts, key=lambda one: one.value, default=nothing),
        "voltage_max_pu": max(volts, key=lambda one: one.value, default=nothing),
        "losses_w": picture.losses,
    }


def shown_number(value: float, unit: str) -> str:
    """A reading for people."""
    if unit == "V":
        return f"{value:,.0f} V"
    return f"{value / 1e3:,.1f} {'kvar' if unit == 'var' else 'kW'}"


def named_words(one: Named, unit: str) -> tuple[str, str]:
    """What is wrong with a meter, in Korean and English."""
    ko, en = KINDS[one.kind]
    value, others = shown_number(one.value, unit), shown_number(one.others, unit)
    return f"{ko}: 지시값 {value}, 다른 계량기로는 {others}", f"{en}: it says {value}, all others say {others}"
