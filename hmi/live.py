"""Everything the views look at: what the receiver fills, the models, and the site they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gwanje.core.clock import Clock
from gwanje.core.site.config import Site
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.display.model import Display, Label
from gwanje.hmi.i18n import read_table
from gwanje.hmi.link import Inbox, LinkState
from gwanje.hmi.model.alarms import AlarmModel
from gwanje.hmi.model.events import EventModel
from gwanje.hmi.model.places import Places
from gwanje.hmi.spectra import Spectra
from gwanje.hmi.store import Snapshot


@dataclass(slots=True)
class Live:
    """What is known now, and the desk from which the operator asks for changes."""

    site: Site
    display: Display
    clock: Clock
    zone: ZoneInfo
    snapshot: Snapshot
    spectra: Spectra
    inbox: Inbox
    link: LinkState
    alarms: AlarmModel
    events: EventModel
    places: Places
    desk: Desk


def places_of(site: Site) -> Places:
    """Labels of the site's devices and nodes and of the program's parts."""
    ko, en = read_table("ko"), read_table("en")
    parts = {
        key.removeprefix("part."): Label(ko[key], en[key]) for key in ko if key.startswith("part.")
    }
    parts |= {f"part_{name}": label for name, label in list(parts.items())}
    parts |= {f"system.{name}": label for name, label in list(parts.items())}
    parts |= {area.id: Label(area.name_ko, area.name_en) for area in site.areas}
    return Places.build([*site.devices, *site.nodes], parts)
