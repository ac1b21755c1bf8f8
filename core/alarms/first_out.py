"""First-out: which alarm of a group came first, to the millisecond of the sample that showed it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gwanje.core.clock import NS_PER_S

EPISODE_NS = 60 * NS_PER_S
"""Alarms of a group that are further apart than this have not one cause."""


@dataclass(slots=True)
class _Group:
    first_id: str = ""
    first_onset_mono_ns: int = 0
    last_onset_mono_ns: int = 0
    standing: set[str] = field(default_factory=set)


class FirstOuts:
    """The first alarm of each group that has presented alarms. A group without any is forgotten."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def raised(self, group: str, alarm_id: str, onset_mono_ns: int) -> tuple[bool, str]:
        """An alarm of a group was raised.

        Returns:
            Whether it is the first, and the alarm that therefore is not any more (empty for none).
        """
        known = self._groups.setdefault(group, _Group())
        begins = not known.first_id or onset_mono_ns - known.last_onset_mono_ns > EPISODE_NS
        earlier = not begins and onset_mono_ns < known.first_onset_mono_ns
        displaced = known.first_id if earlier and known.first_id != alarm_id else ""
        known.standing.add(alarm_id)
        known.last_onset_mono_ns = max(known.last_onset_mono_ns, onset_mono_ns)
        if begins or earlier:
            known.first_id, known.first_onset_mono_ns = alarm_id, onset_mono_ns
        return begins or earlier, displaced

    def enter(self, group: str, alarm_id: str) -> None:
        """An alarm of the group is presented without having been raised now."""
        if group:
            self._groups.setdefault(group, _Group()).standing.add(alarm_id)

    def leave(self, group: str, alarm_id: str) -> None:
        """An alarm of the group is not presented any more."""
        known = self._groups.get(group)
        if known is not None:
            known.standing.discard(alarm_id)
            if not known.standing:
                del self._groups[group]

    def restore(self, group: str, alarm_id: str, onset_mono_ns: int, first_out: bool) -> None:
        """An alarm that an earlier process kept."""
        self.enter(group, alarm_id)
        known = self._groups.get(group)
        if known is None:
            return
        known.last_onset_mono_ns = max(known.last_onset_mono_ns, onset_mono_ns)
        if first_out:
            known.first_id, known.first_onset_mono_ns = alarm_id, onset_mono_ns
