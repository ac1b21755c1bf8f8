"""Key figures of the alarm system, live: how many come, how long they wait, which chatter (EEMUA 191, ISA-18.2).

All times are monotonic, so that a step of the wall clock moves no figure. Everything is bounded: ten-minute bins of one
day, the last thousand acknowledgements, and a limited number of alarms that are watched for chattering.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.alarms.flood import FloodMeter
from gwanje.core.alarms.records import Change, Counts, Record
from gwanje.core.alarms.states import Happening
from gwanje.core.clock import NS_PER_S

BIN_NS = 600 * NS_PER_S
BINS = 144
"""One day of ten minutes."""
WAITS_MAX = 1_000
"""Acknowledgements that the waiting times are taken from."""
CHATTER_RAISES = 3
CHATTER_NS = 60 * NS_PER_S
"""An alarm that is raised this often in a minute chatters."""
CHATTER_SHOWN_NS = 600 * NS_PER_S
"""It is listed for this long after."""
WATCHED_MAX = 2_000
"""Alarms whose last raises are known; beyond it the one that was raised longest ago is forgotten."""
BIN_IDS_MAX = 500
"""Alarms counted one by one in a bin; raises of further ones are counted together."""
STALE_NS = 86_400 * NS_PER_S
"""An alarm that stands for a day tells nobody anything."""
TOP = 10
DELAYS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Delays that are proposed against chattering."""
SAVED_IDS = 50
"""Most frequent alarms of each bin that are kept over a restart."""


@dataclass(slots=True)
class _Bin:
    """Ten minutes."""

    raised: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    flood_s: float = 0.0
    watched_s: float = 0.0
    by_id: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Watched:
    """The last raises of an alarm and how long it stayed."""

    raised: deque[int] = field(default_factory=lambda: deque(maxlen=2 * CHATTER_RAISES))
    lasted: deque[int] = field(default_factory=lambda: deque(maxlen=2 * CHATTER_RAISES))
    chattered_mono_ns: int = -1


class Kpis:
    """Counts what the alarm table tells it."""

    def __init__(self) -> None:
        self._bins: deque[_Bin] = deque([_Bin()], maxlen=BINS)
        self._bin = -1
        self._stepped_mono_ns = -1
        self._waits: deque[float] = deque(maxlen=WAITS_MAX)
        self._watched: OrderedDict[str, _Watched] = OrderedDict()

    def take(self, changes: Iterable[Change], flood: FloodMeter) -> None:
        """Count what happened; announced alarms also go to the flood meter."""
        for one in changes:
            if one.announced:
                flood.raised(one.mono_ns)
                self._raised(one)
            elif one.happening is Happening.RETURN and one.facts.alarm_id in self._watched:
                watched = self._watched[one.facts.alarm_id]
                if watched.raised:
                    watched.lasted.append(one.mono_ns - watched.raised[-1])
            if one.waited_s == one.waited_s:
                self._waits.append(one.waited_s)

    def _raised(self, change: Change) -> None:
        alarm_id, now = change.facts.alarm_id, self._bins[-1]
        now.raised[change.facts.priority - 1] += 1
        if alarm_id in now.by_id or len(now.by_id) < BIN_IDS_MAX:
            now.by_id[alarm_id] += 1
        watched = self._watched.pop(alarm_id, None) or _Watched()
        self._watched[alarm_id] = watched
        watched.raised.append(change.mono_ns)
        recent = [at for at in watched.raised if change.mono_ns - at < CHATTER_NS]
        if len(recent) >= CHATTER_RAISES:
            watched.chattered_mono_ns = change.mono_ns
        if len(self._watched) > WATCHED_MAX:
            self._watched.popitem(last=False)

    def step(self, mono_ns: int, flood: bool) -> None:
        """Let time pass; call it about once a second."""
        now = mono_ns // BIN_NS
        if self._bin < 0:
            self._bin = now
        for _ in range(min(now - self._bin, BINS)):
            self._bins.append(_Bin())
        self._bin = max(now, self._bin)
        if self._stepped_mono_ns >= 0:
            passed_s = (mono_ns - self._stepped_mono_ns) / NS_PER_S
            self._bins[-1].watched_s += passed_s
            self._bins[-1].flood_s += passed_s if flood else 0.0
        self._stepped_mono_ns = mono_ns

    @property
    def flood_share(self) -> float:
        """Share of the last day that was a flood, 0…1."""
        watched = sum(one.watched_s for one in self._bins)
        return sum(one.flood_s for one in self._bins) / watched if watched else 0.0

    @property
    def waits_s(self) -> tuple[float, float]:
        """Mean and 95 % of the last times to acknowledge; 0 before the first."""
        waits = sorted(self._waits)
        if not waits:
            return 0.0, 0.0
        return sum(waits) / len(waits), waits[min(len(waits) - 1, int(0.95 * len(waits)))]

    def chattering(self, mono_ns: int) -> list[dict[str, Any]]:
        """Alarms that chattered lately, with the delay that would have kept them quiet."""
        found = []
        for alarm_id, watched in self._watched.items():
            if watched.chattered_mono_ns < 0 or mono_ns - watched.chattered_mono_ns >= CHATTER_SHOWN_NS:
                continue
            per_min = sum(watched.raised[-1] - at < CHATTER_NS for at in watched.raised)
            found.append({"alarm_id": alarm_id, "per_min": per_min, "on_delay_s": _proposed_s(watched.lasted)})
        return sorted(found, key=lambda one: -one["per_min"])

    def figures(
        self, records: Iterable[Record], counts: Counts, flood: FloodMeter, mono_ns: int
    ) -> dict[str, Any]:
        """All key figures as the service answers them."""
        old = stale(records, mono_ns)
        mean_s, p95_s = self.waits_s
        raised = [sum(one.raised[index] for one in self._bins) for index in range(4)]
        top: Counter[str] = Counter()
        for one in self._bins:
            top.update(one.by_id)
        total = sum(raised)
        return {
            "rate_per_10_min": flood.count,
            "rates": [sum(one.raised) for one in self._bins],
            "flood": flood.flood,
            "flood_pct": 100.0 * self.flood_share,
            "n_standing": sum(counts.by_priority),
            "n_unacknowledged": counts.unacknowledged,
            "n_shelved": counts.shelved,
            "n_suppressed": counts.suppressed,
            "n_out_of_service": counts.out_of_service,
            "n_stale": len(old),
            "stale": [one.facts.alarm_id for one in old[:TOP]],
            "chattering": self.chattering(mono_ns)[: 2 * TOP],
            "top": [{"alarm_id": alarm_id, "n": n} for alarm_id, n in top.most_common(TOP)],
            "raised_24_h": total,
            "priority_share_pct": [100.0 * one / total if total else 0.0 for one in raised],
            "acknowledged": len(self._waits),
            "ack_mean_s": mean_s,
            "ack_p95_s": p95_s,
        }

    def save(self, mono_ns: int) -> str:
        """The figures as text, for a restart; age is counted from ``mono_ns``."""
        return json.dumps({
            "into_bin_ns": mono_ns % BIN_NS,
            "bins": [[one.raised, one.flood_s, one.watched_s, one.by_id.most_common(SAVED_IDS)] for one in self._bins],
            "waits": [round(one, 3) for one in self._waits],
        })  # fmt: skip

    def restore(self, text: str, age_ns: int, mono_ns: int) -> None:
        """Take up figures that were saved ``age_ns`` ago.

        Raises:
            ValueError, TypeError, KeyError: the text holds none.
        """
        saved: Mapping[str, Any] = json.loads(text)
        bins = [
            _Bin([int(n) for n in raised], float(flood_s), float(watched_s), Counter({str(k): int(n) for k, n in top}))
            for raised, flood_s, watched_s, top in saved["bins"]
        ]
        if not 0 < len(bins) <= BINS or any(len(one.raised) != 4 for one in bins):
            raise ValueError("not the bins of a day")
        waits = [float(one) for one in saved["waits"]]
        self._bins = deque(bins, maxlen=BINS)
        self._waits = deque(waits, maxlen=WAITS_MAX)
        for _ in range(min(BINS, (int(saved["into_bin_ns"]) + max(0, age_ns)) // BIN_NS)):
            self._bins.append(_Bin())
        self._bin = mono_ns // BIN_NS
        self._stepped_mono_ns = mono_ns


def stale(records: Iterable[Record], mono_ns: int) -> list[Record]:
    """Presented alarms that have stood for a day, the oldest first."""
    since = mono_ns - STALE_NS
    found = [one for one in records if one.state.raised_mono_ns <= since and one.presented]
    return sorted(found, key=lambda one: one.state.raised_mono_ns)


def _proposed_s(lasted: Iterable[int]) -> float:
    """A delay longer than the alarm's short stays."""
    longest_s = max((one / NS_PER_S for one in lasted), default=DELAYS_S[0])
    return next((one for one in DELAYS_S if one > longest_s), DELAYS_S[-1])
