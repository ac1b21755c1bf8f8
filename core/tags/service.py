"""The core's service ``tags``: what a tag is (unit, limits, owner, descriptions), for whoever has no files of the site.

``describe{pattern, limit, offset}`` → ``{n, tags: [{…}]}``: n tags match; a page of them in the order of their names.
"""

from __future__ import annotations

import bisect
import fnmatch
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import Clock
from gwanje.core.requests import NAME_MAX, Code, RequestError, refusal, take_text, take_whole
from gwanje.core.tags.table import Tag, TagTable

SERVICE = "tags"
PAGE = 100
PAGE_MAX = 400
"""Tags of one answer: at about 1 kB each it stays far below what the bus takes."""
MARKS_MAX = 4
"""Stars and brackets of a pattern: each may double the time of a comparison."""
SEARCHES_PER_S, SEARCH_BURST = 5.0, 20
"""Searches of all askers together: one through 100 000 tags takes the core tens of milliseconds."""
PAGES_PER_S, PAGE_BURST = 50.0, 300
"""Pages of all askers together: one takes some milliseconds; all of 100 000 tags are 250."""
SEARCHES_MAX = 8
"""Searches remembered: who turns pages does not search again."""


def described(tag: Tag, tag_id: int) -> dict[str, Any]:
    """Static data of a tag as plain values; ``None`` where there is no limit."""
    return {
        "id": tag_id,
        "name": tag.name,
        "unit": tag.unit,
        "owner": tag.owner,
        "kind": tag.kind,
        "low": _limit(tag.low),
        "high": _limit(tag.high),
        "low_warning": _limit(tag.low_warning),
        "high_warning": _limit(tag.high_warning),
        "deadband": tag.deadband,
        "stale_after_s": tag.stale_after_s,
        "decimals": tag.decimals,
        "states": [list(one) for one in tag.states],
        "derived": tag.derived,
        "simulated": tag.simulated,
        "description_ko": tag.description_ko,
        "description_en": tag.description_en,
    }


def _limit(value: float) -> float | None:
    return value if math.isfinite(value) else None


class TagService:
    """Answers from the tag table; nothing of it changes while a city runs."""

    def __init__(self, tags: TagTable, clock: Clock) -> None:
        self._tags, self._clock = tags, clock
        self._found: OrderedDict[str, list[str]] = OrderedDict()
        self._searches = RateLimit(SEARCHES_PER_S, SEARCH_BURST)
        self._pages = RateLimit(PAGES_PER_S, PAGE_BURST)
        self._names = sorted(tags.ids)

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        try:
            if message.get("op") != "describe":
                return refusal(Code.MALFORMED, "unknown op")
            pattern = take_text(message, "pattern", NAME_MAX) if "pattern" in message else "*"
            if sum(pattern.count(mark) for mark in "*[") > MARKS_MAX:
                return refusal(Code.MALFORMED, f"pattern with more than {MARKS_MAX} stars and brackets")
            limit, offset = take_whole(message, "limit", PAGE), take_whole(message, "offset", 0)
        except RequestError as error:
            return refusal(error.code, error.detail)
        if not self._pages.take(SERVICE, self._clock.mono_ns()):
            return refusal(Code.BUSY, "too many tags are asked for")
        found = self._search(pattern)
        if found is None:
            return refusal(Code.BUSY, "too many tags are searched for")
        page = found[offset : offset + min(limit, PAGE_MAX)]
        return {"n": len(found), "tags": [described(self._tags.get(name), self._tags.index(name)) for name in page]}

    def _search(self, pattern: str) -> list[str] | None:
        """Names that match; ``None`` when too many are asked for at once."""
        found = self._found.get(pattern)
        if found is None:
            if pattern != "*" and not self._searches.take(SERVICE, self._clock.mono_ns()):
                return None
            found = self._found[pattern] = self._matching(pattern)
        self._found.move_to_end(pattern)
        if len(self._found) > SEARCHES_MAX:
            self._found.popitem(last=False)
        return found

    def _matching(self, pattern: str) -> list[str]:
        """Names that match; only those that begin as the pattern does are looked at."""
        if pattern == "*":
            return self._names
        prefix = pattern[: min((pattern.find(mark) for mark in "*?[" if mark in pattern), default=len(pattern))]
        begin = bisect.bisect_left(self._names, prefix)
        end = bisect.bisect_left(self._names, prefix + "\U0010ffff")
        fits = re.compile(fnmatch.translate(pattern)).match
        return [name for name in self._names[begin:end] if fits(name)]
