"""The tables of ``acoustic.toml`` about what follows a sound: incidents, cameras, lamps, checks of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gwanje.core.site.toml_reader import Reader

AIR_C: Final = 15.0
"""Where no weather station tells: 10 °C beside it place a sound 60 m away wrong by a metre."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """See the module.

    Attributes:
        temperature_tag: of the air, °C; empty where nobody measures it.
        clock_sigma_s: how far the clocks of two nodes are apart, one sigma.
        reach_m: from how far away a street sound is heard.
        cameras: whether cameras are turned.
        camera_reach_m: to incidents so near.
        camera_rest_s: so long a camera is left alone after it was turned, but for a better place of the same incident.
        lamps: how many are brightened, at most; 0 for none.
        lamp_reach_m: around the place.
        lamp_level_pct: to which level; the driver gives them back after two minutes.
        check_every_s: in which every array is looked at once.
    """

    temperature_tag: str = ""
    clock_sigma_s: float = 0.002
    reach_m: float = 200.0
    cameras: bool = True
    camera_reach_m: float = 150.0
    camera_rest_s: float = 20.0
    lamps: int = 8
    lamp_reach_m: float = 45.0
    lamp_level_pct: float = 100.0
    check_every_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What the part's tags show of incidents; NaN where there is nothing to show.

    Attributes:
        incidents: since the part started.
        number: of the newest.
        kind: its class as ``event_class`` numbers it, one more for the whole city.
        x_m: where it was, metres east.
        y_m: north.
        radius_m: long semi-axis of the ellipse that holds it with 95 %.
        nodes: that heard it.
        confidence: of the surest.
        city_wide: of those kept, how many had no place because the whole city heard them.
        camera_ms: from telling the newest to its camera's command.
        air_c: temperature that the speed of sound is taken from.
        quietened: events that counted for nothing because of operators' verdicts.
    """

    incidents: float = 0.0
    number: float = 0.0
    kind: float = 0.0
    x_m: float = float("nan")
    y_m: float = float("nan")
    radius_m: float = float("nan")
    nodes: float = 0.0
    confidence: float = 0.0
    city_wide: float = 0.0
    camera_ms: float = float("nan")
    air_c: float = AIR_C
    quietened: float = 0.0


FIGURES: Final = (
    "incidents", "incident_number", "incident_class", "incident_x_m", "incident_y_m", "incident_radius_m",
    "incident_nodes", "incident_confidence", "city_wide", "camera_ms", "air_c", "quietened",
)  # fmt: skip
"""Quantities of ``system.acoustic.*``, in the order of :class:`Figures`."""
VERDICTS: Final = ("control.acoustic.verdict_true", "control.acoustic.verdict_false", "control.acoustic.verdict_unsure")
"""Points that take an operator's verdict: the value is the number of the incident."""


def read_live(root: Reader) -> LiveSettings:
    """Read them; what is wrong is noted in the reader's document."""

    def table(name: str) -> Reader:
        return root.reader(name) or Reader(root.document, (name,), {})

    usual = LiveSettings()
    incidents, camera, lamps, arrays = table("incidents"), table("camera"), table("lamps"), table("arrays")
    found = LiveSettings(
        incidents.text("temperature_tag", usual.temperature_tag),
        incidents.number("clock_sigma_s", usual.clock_sigma_s, 0.0, 1.0),
        incidents.number("reach_m", usual.reach_m, 20.0, 2_000.0),
        camera.flag("enabled", usual.cameras),
        camera.number("reach_m", usual.camera_reach_m, 1.0, 2_000.0),
        camera.number("rest_s", usual.camera_rest_s, 0.0, 600.0),
        lamps.integer("count", usual.lamps, 0, 50),
        lamps.number("reach_m", usual.lamp_reach_m, 1.0, 500.0),
        lamps.number("level_pct", usual.lamp_level_pct, 10.0, 100.0),
        arrays.number("check_every_s", usual.check_every_s, 1.0, 3_600.0),
    )
    for one in (incidents, camera, lamps, arrays):
        one.finish()
    return found
