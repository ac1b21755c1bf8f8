"""One family of the default site alone: its devices and their tags, whatever the other files say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gwanje.core.site.config import Device
from gwanje.core.site.profiles import read_devices, read_profile
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags.table import TagTable

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "configs" / "chungbuk"


@dataclass(frozen=True)
class FleetSite:
    devices: tuple[Device, ...]
    tags: TagTable


def load_fleet(family: str, *profiles: str) -> FleetSite:
    """Devices of ``devices/FAMILY.toml``, which has these profiles."""
    read = {}
    for name in profiles:
        document = Document.load(SITE / "profiles" / f"{name}.toml", f"chungbuk/profiles/{name}.toml")
        read[name] = read_profile(name, document)
        assert not document.problems, document.problems
    document = Document.load(SITE / "devices" / f"{family}.toml", f"chungbuk/devices/{family}.toml")
    fleet = read_devices({document.name: document}, read)
    assert not document.problems, document.problems
    return FleetSite(fleet.devices, TagTable.build(fleet.tags))
