"""Who an alarm is: from its id to the facts that never change, made when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence

from gwanje.core.alarms.definitions import AlarmDefinition, EventAlarmDefinition
from gwanje.core.alarms.records import Facts
from gwanje.core.alarms.states import Hidden
from gwanje.core.alarms.suppression import Suppression
from gwanje.core.alarms.topology import Places, Topology
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.table import TagTable


class FactBook:
    """Facts of every alarm of a site, by its id."""

    def __init__(
        self, definitions: Sequence[AlarmDefinition], events: Sequence[EventAlarmDefinition], tags: TagTable,
        topology: Topology, places: Places, suppression: Suppression,
    ) -> None:  # fmt: skip
        self.ids = tuple(one.id for one in definitions)
        """(n,) of the tag alarms, in the order of their definitions."""
        self._definitions = tuple(definitions)
        self._position = {one.id: position for position, one in enumerate(definitions)}
        self._events = {one.id: one for one in events}
        self._tags = tags
        self._topology = topology
        self._places = places
        self._prefix = {place.rpartition(".")[2]: place for place in places}
        self._suppression = suppression
        self._known: dict[str, Facts] = {}
        self._event_facts: dict[str, Facts] = {}

    def position(self, alarm_id: str) -> int:
        """Place of a tag alarm among the definitions.

        Raises:
            KeyError: it is none.
        """
        return self._position[alarm_id]

    def priority(self, alarm_id: str) -> int:
        """Of an alarm that is known."""
        position = self._position.get(alarm_id)
        return self._definitions[position].priority if position is not None else self._event_facts[alarm_id].priority

    def facts(self, alarm_id: str) -> Facts | None:
        """Facts of an alarm; of an event alarm only when its event was seen or somebody named it before."""
        position = self._position.get(alarm_id)
        if position is None:
            return self._event_facts.get(alarm_id)
        if alarm_id not in self._known:
            self._known[alarm_id] = self._of_tag(self._definitions[position])
        return self._known[alarm_id]

    def found(self, alarm_id: str, definition_id: str = "", source: str = "") -> Facts | None:
        """Facts of an alarm that somebody names; an event alarm must be of a place that the site has, or be given."""
        facts = self.facts(alarm_id)
        if facts is not None:
            return facts
        if not definition_id:
            definition_id, _, source = alarm_id.partition(":")
            if source not in self._prefix:
                return None
        definition = self._events.get(definition_id)
        return self.event(definition, source) if definition is not None else None

    def event(self, definition: EventAlarmDefinition, source: str) -> Facts:
        """Facts of an event's alarm, kept until :meth:`forget`."""
        alarm_id = f"{definition.id}:{source}"
        if alarm_id not in self._event_facts:
            self._event_facts[alarm_id] = self._of_event(definition, source, alarm_id)
        return self._event_facts[alarm_id]

    def forget(self, alarm_id: str) -> None:
        """An event's alarm is at rest; sources are many, and only those with an alarm are kept."""
        self._event_facts.pop(alarm_id, None)

    def returns_after_ns(self, facts: Facts) -> int:
        """How long after its last event an alarm returns."""
        return round(self._events[facts.definition_id].returns_after_s * NS_PER_S)

    def why(self, facts: Facts, hidden: Hidden) -> tuple[str, str]:
        """What hides an alarm by design, in Korean and English."""
        if hidden & Hidden.MAINTENANCE:
            return "정비 꼬리표가 달려 있음", "a maintenance tag hangs on it"
        if hidden & Hidden.TOPOLOGY:
            held = [one for one in facts.feeds if self._suppression.holds(one)] or list(facts.feeds)
            ko, en = self._topology.name(self._suppression.suppressors[held[-1]].node)
            return f"{ko}: 급전되지 않음", f"{en}: not fed"
        text = self._suppression.suppressors[facts.condition].text if facts.condition >= 0 else ""
        return f"설계된 억제: {text}", f"suppressed by design: {text}"

    def _of_tag(self, definition: AlarmDefinition) -> Facts:
        tag = self._tags.get(definition.tag)
        prefix = definition.tag.rpartition(".")[0]
        node = definition.node or self._topology.of_tag(definition.tag)
        place = self._places.get(prefix) or self._topology.name(node)
        condition, feeds = self._suppression.of(definition.suppress_when, node)
        return Facts(
            definition.id, definition.id, definition.tag, definition.tag, definition.priority, definition.texts,
            tag.unit, definition.shown_limit, definition.latching, round(definition.re_alarm_s * NS_PER_S), node,
            self._topology.group_of(node), *place, condition, feeds,
        )  # fmt: skip

    def _of_event(self, definition: EventAlarmDefinition, source: str, alarm_id: str) -> Facts:
        prefix = self._prefix.get(source, source)
        node = definition.node or self._topology.of_source(source)
        place = self._places.get(prefix) or self._topology.name(node)
        texts = definition.texts.filled(
            {"source": source, "place": (place[0] or source, place[1] or source)}
        )
        condition, _feeds = self._suppression.of(definition.suppress_when, node)
        return Facts(  # what was heard is true whether the street has power or not: no dead feeder hides it
            alarm_id, definition.id, source, prefix, definition.priority, texts, "", definition.min_confidence,
            definition.latching, round(definition.re_alarm_s * NS_PER_S), node, self._topology.group_of(node), *place,
            condition, (), True,
        )  # fmt: skip
