"""What the tests of the alarms are made of: small sites, definitions, samples, people."""

from dataclasses import replace
from typing import Any

import numpy as np

from gwanje.core.alarms.definitions import TEXT_KEYS, AlarmDefinition, Condition, EventAlarmDefinition, Texts
from gwanje.core.alarms.topology import Topology, TopologyNode
from gwanje.core.authority.principal import Principal, Role
from gwanje.core.bus.messages import Event
from gwanje.core.journal.chain import JournalError
from gwanje.core.requests import Code, RequestError
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot
from gwanje.core.tags.table import Tag, TagTable

S = 1_000_000_000
GOOD, BAD = int(Quality.GOOD), int(Quality.BAD | Quality.COMM)
STALE = int(Quality.BAD | Quality.STALE)
TEXTS = Texts(*TEXT_KEYS)

TAGS = TagTable.build(
    [
        Tag("grid.tie.import_w", "W", "field", low=-3e6, high=3e6, stale_after_s=2),
        Tag("grid.breaker.closed", "", "field", low=0, high=1, stale_after_s=2),
        Tag("jincheon.ess1.soc", "", "field", low=0.0, high=1.0, stale_after_s=2),
        Tag("jincheon.ess1.online", "", "field", description_ko="ESS 1 통신", description_en="ESS 1 link"),
        Tag("jincheon.pv1.online", "", "field", description_ko="PV 1 통신", description_en="PV 1 link"),
        Tag("jincheon.lamp1.online", "", "field", description_ko="가로등 1 통신", description_en="lamp 1 link"),
        Tag("eumseong.ess2.online", "", "field", description_ko="ESS 2 통신", description_en="ESS 2 link"),
        Tag("system.core.load", "", "core", description_ko="부하", description_en="load"),
    ]
)
PLACES = {
    "jincheon.ess1": ("진천 ESS", "Jincheon ESS"),
    "jincheon.mic03": ("상가 골목", "Shopping alley"),
}
TOPOLOGY = Topology.build(
    [
        TopologyNode("kepco", "connection", "한전 연계점", "KEPCO connection", tags=("grid.tie.*",)),
        TopologyNode(
            "cb", "breaker", "연계 차단기", "Tie breaker", "kepco", ("grid.breaker.*",),
            dead_when="grid.breaker.closed < 0.5",
        ),
        TopologyNode("f1", "feeder", "진천 선로", "Jincheon feeder", "cb"),
        TopologyNode("f2", "feeder", "음성 선로", "Eumseong feeder", "cb"),
        TopologyNode("ess1", "device", "진천 ESS", "Jincheon ESS", "f1", ("jincheon.ess1.*",)),
        TopologyNode("pv1", "device", "진천 PV", "Jincheon PV", "f1", ("jincheon.pv1.*",)),
        TopologyNode("lamp1", "load", "가로등", "Lamp", "f1", ("jincheon.lamp1.*",)),
        TopologyNode("ess2", "device", "음성 ESS", "Eumseong ESS", "f2", ("eumseong.ess2.*",)),
        TopologyNode("mic03", "microphone", "상가 골목", "Shopping alley", "f1", (), ("mic03",)),
        TopologyNode("centre", "centre", "관제 시스템", "control centre", tags=("system.*",)),
    ]
)  # fmt: skip


def alarm(**changes: Any) -> AlarmDefinition:
    """An alarm at 100 W with delays of 2 and 3 s."""
    base = AlarmDefinition(
        "tie_high", "grid.tie.import_w", Condition.ABOVE, 100.0, 10.0, 2.0, 3.0, 2, 60.0, TEXTS
    )
    return replace(base, **changes)


def quick(**changes: Any) -> AlarmDefinition:
    """An alarm without delays and deadband."""
    return alarm(**{"on_delay_s": 0.0, "off_delay_s": 0.0, "deadband": 0.0, **changes})


def link_lost(tag: str, **changes: Any) -> AlarmDefinition:
    """An alarm of a device that does not answer."""
    return quick(**{"id": f"lost:{tag}", "tag": tag, "condition": Condition.BELOW, "limit": 0.5, **changes})


def event_alarm(**changes: Any) -> EventAlarmDefinition:
    """An alarm for broken glass that returns after a minute."""
    return replace(EventAlarmDefinition("glass", "acoustic", "glass_break", 0.5, 60.0, 2, 60.0, TEXTS), **changes)


def heard(source: str = "mic03", confidence: float = 0.9, class_name: str = "glass_break", utc_ns: int = 7) -> Event:
    """A window breaks."""
    return Event("acoustic", source, class_name, utc_ns, 7, "유리 깨짐", "glass break", confidence)


def samples(*values: float, quality: int = GOOD, received: int = 0) -> Snapshot:
    """Samples in the places of a table's tags."""
    k = len(values)
    return Snapshot(
        np.array(values, np.float64), np.full(k, quality, np.uint16), np.zeros(k, np.int64),
        np.full(k, received, np.int64),
    )  # fmt: skip


class FakeAuthority:
    """Everybody's session is ``name:role``; areas are the first word of a point, held by whom ``holders`` says."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}

    def principal(self, message: Any) -> Principal:
        """See :class:`gwanje.core.alarms.operations.Authority`."""
        name, _, role = str(message.get("session", "")).partition(":")
        if not name:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        return Principal(name, Role(role), f"session-{name}")

    def area_of(self, point: str) -> str:
        """See :class:`gwanje.core.alarms.operations.Authority`."""
        area = point.partition(".")[0]
        return area if area in ("jincheon", "eumseong") else ""

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """See :class:`gwanje.core.alarms.operations.Authority`."""
        area = self.area_of(point)
        return None if self.holders.get(area) == principal.name else (Code.AREA_NOT_HELD, area)


class FakeDesk:
    """Entries in a list; as long as ``broken`` nothing can be written at once."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def write_now(self, kind: Any, **data: Any) -> None:
        """See :class:`gwanje.core.journal.desk.JournalDesk`."""
        if self.broken:
            raise JournalError(28, "no space left on device")
        self.entries.append((str(kind), data))

    def note_all(self, entries: Any) -> None:
        """See :class:`gwanje.core.journal.desk.JournalDesk`."""
        self.entries += [(str(kind), dict(data)) for kind, data in entries]

    def kinds(self) -> list[str]:
        """Kinds of the entries."""
        return [kind for kind, _ in self.entries]
