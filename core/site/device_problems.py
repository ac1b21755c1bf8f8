"""Problems of devices, each told once however many devices of a fleet or profile have it."""

from __future__ import annotations

from collections import Counter

from gwanje.core.site.devices import Device
from gwanje.core.site.toml_reader import KeyPath


class DeviceProblems:
    """Collects them; the devices come one after another."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, KeyPath, int], tuple[str, list[str]]] = {}
        self._here: Counter[KeyPath] = Counter()
        self._device = ""

    def add(self, device: Device, path: KeyPath, reason: str) -> None:
        """Note what is wrong at a key path below a device."""
        if device.name != self._device:
            self._device, self._here = device.name, Counter()
        self._here[path] += 1
        found = self._found.setdefault((*device.place(path), self._here[path]), (reason, []))
        found[1].append(device.name)

    def found(self) -> list[tuple[str, KeyPath, str]]:
        """All as (file, key path, reason); several devices with the same are one problem, told of the first."""
        return [
            (file, path, reason if len(names) == 1 and "device '" in reason else f"{reason} ({_names(names)})")
            for (file, path, _), (reason, names) in self._found.items()
        ]


def _names(names: list[str]) -> str:
    return f"device {names[0]!r}, and {len(names) - 1} more" if len(names) > 1 else f"device {names[0]!r}"
