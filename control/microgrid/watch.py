"""Conditions of the process image that people are told of: what is missing, lies, derates or is unsure, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gwanje.control.microgrid.alarms import Alarms
from gwanje.control.microgrid.device_settings import Device
from gwanje.control.microgrid.image import Image
from gwanje.control.microgrid.settings import Settings
from gwanje.control.microgrid.units import Units
from gwanje.ext.plausibility import CLOCK

DERATED_SHARE = 0.9
"""A battery that reports less than this of its rating has derated."""
BEGIN_S = 3.0
"""Before that not everything has come once; nothing is told of it."""
END_SHARE = 0.01
"""A charge this near its limit is at its end."""
METERS = (("grid.bus.frequency1_hz", "주파수계 1", "frequency meter 1"),
          ("grid.bus.frequency2_hz", "주파수계 2", "frequency meter 2"),
          ("grid.bus.frequency3_hz", "주파수계 3", "frequency meter 3"))  # fmt: skip


class Watch:
    """Conditions, debounced and told with their causes.

    Args:
        settings: of the site.
        image: what came.
        units: the devices.
    """

    def __init__(self, settings: Settings, image: Image, units: Units) -> None:
        self._settings, self._image, self._units = settings, image, units
        labels = {tag: (ko, en) for tag, ko, en in METERS}
        plants: list[Device] = [*settings.generator, *settings.source]
        devices: list[Device] = [*settings.battery, *plants, *settings.load]
        for one in devices:
            labels[one.name] = (one.label_ko or one.name, one.label_en or one.name)
        self._alarms = Alarms(labels)
        # The connection's own tags are told of by name: several instruments stand behind them.
        self._places: dict[str, list[int]] = {}
        for tag, at in image.index.items():
            self._places.setdefault(tag if tag.startswith("grid.") else tag.rpartition(".")[0], []).append(at)
        self._begun_s = 0.0
        self._meters = [(one.name, image.index[f"{one.name}.load_w"]) for one in settings.load]
        self._meters += [(one.name, image.index[f"{one.name}.generation_w"]) for one in plants]

    def retune(self, settings: Settings) -> None:
        """Other parameters of the same devices."""
        self._settings = settings

    @property
    def standing(self) -> list[str]:
        """Conditions that were told and have not ended."""
        return self._alarms.standing

    def step(
        self, others: Mapping[str, bool], limited: Sequence[bool], island: bool, dt_s: float
    ) -> list[tuple[str, str, str]]:
        """One step; lines as (kind, Korean, English)."""
        image, units, settings = self._image, self._units, self._settings
        self._begun_s += dt_s
        if self._begun_s < BEGIN_S:
            return []
        holds, flags = dict(others), {}
        index, unusable = image.index, image.flags & ~np.uint8(CLOCK)
        holds["import_missing"] = unusable[index["grid.tie.import_w"]] != 0
        flags["import_missing"] = int(image.flags[index["grid.tie.import_w"]])
        holds["breaker_unknown"] = unusable[index["grid.breaker.closed"]] != 0
        flags["breaker_unknown"] = int(image.flags[index["grid.breaker.closed"]])
        holds["frequency_missing"] = image.frequency_hz != image.frequency_hz
        flags["frequency_missing"] = int(image.flags[index["grid.bus.frequency1_hz"]])
        for k, (tag, _, _) in enumerate(METERS):
            # With none of them usable there is nothing to disagree with.
            alone = bool(unusable[index[tag]]) and not holds["frequency_missing"]
            holds[f"frequency_liar:{tag}"] = image.liar == k or alone
        for k, battery in enumerate(settings.battery):
            charge, name = units.charge[k], battery.name
            bits = int(image.flags[index[f"{name}.discharge_w"]] | image.flags[index[f"{name}.online"]])
            bits |= int(image.flags[index[f"{name}.soc"]]) if charge.low != charge.low else 0
            holds[f"battery_excluded:{name}"] = not units.usable[k]
            flags[f"battery_excluded:{name}"] = bits
            holds[f"battery_not_following:{name}"] = limited[k] and not island
            least_w = min(charge.charge_w_max / battery.charge_w_max, charge.discharge_w_max / battery.discharge_w_max)
            holds[f"battery_derated:{name}"] = least_w < DERATED_SHARE
            holds[f"charge_unsure:{name}"] = charge.drifted or bool(unusable[index[f"{name}.soc"]])
            holds[f"battery_end:{name}"] = (
                charge.low < settings.limits.soc_min + END_SHARE or charge.high > settings.limits.soc_max - END_SHARE
            )
        for name, at in self._meters:
            holds[f"meter_missing:{name}"] = bool(unusable[at])
            flags[f"meter_missing:{name}"] = int(image.flags[at])
        late = (image.flags & CLOCK) != 0
        for name, places in self._places.items():
            holds[f"clock:{name}"] = bool(late[places].any())
            flags[f"clock:{name}"] = CLOCK
        return self._alarms.step(holds, flags, dt_s)
