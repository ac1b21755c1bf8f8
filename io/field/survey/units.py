"""SunSpec's words for units in ours."""

from __future__ import annotations

from gwanje.core.site.tag_files import UNITS

_OURS = {
    "Pct": "%", "% WMax": "%", "% VRef": "%", "% WRef": "%", "VNomPct": "%", "WMaxPct": "%", "VarPct": "%",
    "%WHRtg": "%", "VAr": "var", "Var": "var", "Varh": "varh", "VArh": "varh", "Secs": "s", "mSecs": "ms", "C": "°C",
    "WH": "Wh", "AH": "Ah", "HZ": "Hz", "PF": "", "cos()": "",
}  # fmt: skip


def our_unit(sunspec: str) -> str | None:
    """A tag's unit for one of SunSpec's; None when we have none."""
    unit = _OURS.get(sunspec.strip(), sunspec.strip())
    return unit if unit in UNITS else None
