"""The data loggers of a simulated TALQ gateway: what is sampled, which changes count, what waits. No I/O.

A periodic logger with a threshold tells changes; one without tells everything, spread over its period so that the
gateway's line is never flooded. An event logger tells the begin and end of faults.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.io.sim.city.lamps_wire import (
    EVENT_OF,
    FUNCTION_OF,
    GATEWAY_ATTRIBUTES,
    LampTeller,
    stamp,
)

PENDING_MAX = 40_000
"""Entries that wait while nobody takes reports; the oldest go first, as in a gateway's memory."""
NS_PER_S = 1_000_000_000


class Logger:
    """One data logger.

    Args:
        config: as the CMS sent it, checked against the schema.
        lamps: indices of the lamps it records.
        own: it records the gateway's own sensors too.
        teller: of the lamps.
    """

    def __init__(
        self, config: Mapping[str, Any], lamps: npt.NDArray[np.int64], own: str, teller: LampTeller
    ) -> None:  # fmt: skip
        self.address = str(config["address"])
        self._lamps = lamps
        self._own = own
        self._teller = teller
        self.pending: deque[str] = deque(maxlen=PENDING_MAX)
        recording = config["recordingMode"]
        self._events = recording["type"] == "EventRecordingMode"
        self._names: dict[str, int | None] = {}
        self._period_ns = 0
        if self._events:
            self._wanted = set(recording["sourceEvents"].get("whiteList", EVENT_OF.values()))
        else:
            self._period_ns = period_s(recording["samplingProfiles"][0].get("samplingPeriod", "PT60S")) * NS_PER_S
            for one in recording["content"]:
                for attribute in one["function"].get("attributes", ()):
                    self._names[attribute["name"]] = attribute.get("onChangeThreshold")
        self._told: dict[str, npt.NDArray[Any]] = {
            name: teller.column(name)[lamps] for name in self._names if name in FUNCTION_OF
        }
        self._due_ns = 0
        self._turn = 0

    def sample(self, utc_ns: int) -> None:
        """Record what is due."""
        if self._events:
            self._record_events(utc_ns)
        elif self._changes:
            if utc_ns >= self._due_ns:
                self._due_ns = utc_ns + self._period_ns
                self._record_changes(utc_ns)
        else:
            self._record_share(utc_ns)

    @property
    def _changes(self) -> bool:
        return any(one is not None for one in self._names.values())

    def everything(self, utc_ns: int) -> None:
        """Record all of it now: somebody asked for a report."""
        self._record(range(len(self._lamps)), utc_ns)
        self._record_own(utc_ns)

    def _record_changes(self, utc_ns: int) -> None:
        reach = ~self._teller.world.is_fault("comm_failure")[self._lamps]
        for name, threshold in self._names.items():
            if name not in FUNCTION_OF:
                continue
            column = self._teller.column(name)[self._lamps]
            told = self._told[name]
            if column.dtype == np.bool_:
                changed = (column != told) & reach
            else:
                changed = (np.abs(column - told) > np.abs(told) * ((threshold or 0) / 100.0)) & reach
            self._told[name] = np.where(changed, column, told)
            for n in np.flatnonzero(changed):
                self.pending.append(self._teller.entry(int(self._lamps[n]), name, column[n], utc_ns))
        self._record_own(utc_ns)

    def _record_share(self, utc_ns: int) -> None:
        """The share of the lamps that is due, in turn."""
        if not self._due_ns:
            self._due_ns = utc_ns
        n = len(self._lamps)
        goal = int((utc_ns - self._due_ns) * n // self._period_ns) if n else 0
        if goal - self._turn > n:
            self._turn = goal - n
        self._record([one % n for one in range(self._turn, goal)], utc_ns)
        if goal > self._turn:
            self._turn = goal
            self._record_own(utc_ns)

    def _record(self, places: Any, utc_ns: int) -> None:
        columns = {name: self._teller.column(name) for name in self._names if name in FUNCTION_OF}
        lost = self._teller.world.is_fault("comm_failure")
        for place in places:
            lamp = int(self._lamps[place])
            for name, column in columns.items():
                if not lost[lamp] or name == "communicationFailure":
                    self.pending.append(self._teller.entry(lamp, name, column[lamp], utc_ns))

    def _record_own(self, utc_ns: int) -> None:
        if not self._own:
            return
        when = stamp(utc_ns)
        for name, function in GATEWAY_ATTRIBUTES.items():
            if name in self._names:
                value = json.dumps(self._teller.gateway_value(name, when))
                self.pending.append(
                    f'{{"data":{{"type":"AttributeLogData","srcAddress":"{self._own}/{function}","timestamp":"{when}",'
                    f'"attributeName":"{name}","attributeValue":{value}}}}}'
                )

    def _record_events(self, utc_ns: int) -> None:
        for name in self._wanted & set(EVENT_OF.values()):
            column = self._teller.column(name)[self._lamps]
            told = self._told.get(name, np.zeros(len(self._lamps), np.bool_))
            self._told[name] = column
            for n in np.flatnonzero(column != told):
                self.pending.append(self._teller.event(int(self._lamps[n]), name, bool(column[n]), utc_ns))

    def reports(self, entries_max: int) -> Iterator[str]:
        """What waits, as bodies of reports; taken away when the caller goes on to the next."""
        while self.pending:
            n = min(len(self.pending), entries_max)
            entries = [self.pending[one] for one in range(n)]
            yield f'{{"address":"{self.address}","entries":[{",".join(entries)}]}}'
            for _ in range(n):
                if self.pending:
                    self.pending.popleft()


def period_s(text: str) -> int:
    """Seconds of an ISO 8601 duration of days, hours, minutes and seconds; 60 for what is none."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    if found is None:
        return 60
    days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return max(((days * 24 + hours) * 60 + minutes) * 60 + seconds, 1)
