"""``gwanje tags`` and what an operator lays over them: ``substitute``, ``block``, ``restore``, ``overrides``."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from gwanje.core.alarms.topology import Places
from gwanje.core.bus.bus import BusError, RequestTimeoutError
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.speech import column_of, with_lang
from gwanje.core.cli.tokens import ask
from gwanje.core.clock import NS_PER_S, SystemClock, utc_text
from gwanje.core.overrides.service import SERVICE
from gwanje.core.overrides.table import DEFAULT_S, LONGEST_S
from gwanje.core.site.config import Site, load_site
from gwanje.core.site.local_time import SiteTime
from gwanje.core.tags.quality import Quality, describe
from gwanje.core.tags.service import described
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.core.tags.table import Tag

ASK_TIMEOUT_MS = 500
"""Who laid something over a value is asked beside; without an answer the values are shown all the same."""
OVERRIDDEN = int(Quality.SUBSTITUTED | Quality.BLOCKED)
LENGTH = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h)?")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


WORDS: Mapping[str, tuple[str, str]] = {
    "no_bad": ("BAD인 값 없음 (태그 {n}개 중)", "no tag is BAD, of {n}"), "never": ("없음", "never"),
    "by": ("{author}", "by {author}"), "left": ("{time} 남음", "{time} left"), "since": ("{time}부터", "since {time}"),
    "substituted": ("대체", "substituted"), "blocked": ("고정", "blocked"),
    "is_substituted": ("{point}: {time} 동안 {value}(으)로 대체", "{point} is substituted by {value} for {time}"),
    "is_blocked": ("{point}: {time} 동안 값 고정", "{point} is frozen for {time}"),
    "own": ("{point}: 원래 값으로 되돌림", "{point} has its own value again"),
    "nobody": ("누가 값을 대체하거나 고정했는지 알 수 없음", "who substituted or blocked values is not known"),
    "none": ("대체되거나 고정된 값 없음", "nothing is substituted or blocked"),
    "h": ("시간", "h"), "min": ("분", "min"), "s": ("초", "s"),
}  # fmt: skip


def _word(key: str, lang: str, **more: object) -> str:
    return WORDS[key][column_of(lang)].format(**more)


def add(commands: Commands) -> None:
    """Add the commands."""
    tags = commands.add("tags", _tags, "live values of tags, or what they are")
    tags.add_argument("pattern", nargs="?", default="*", help="shell pattern such as 'jincheon.ess1.*'")
    tags.add_argument("--static", action="store_true", help="unit, limits, owner and descriptions instead of values")
    tags.add_argument("--bad", action="store_true", help="only tags whose quality is BAD")
    tags.add_argument("--json", action="store_true", help="one JSON array")
    substitute = commands.add("substitute", _substitute, "give a tag a value of your own, for a time")
    substitute.add_argument("point", metavar="TAG")
    substitute.add_argument("value", type=float)
    block = commands.add("block", _block, "freeze a tag's value, for a time")
    block.add_argument("point", metavar="TAG")
    restore = commands.add("restore", _restore, "give a substituted or blocked tag back its own value")
    restore.add_argument("point", metavar="TAG")
    for one in (substitute, block, restore):
        one.add_argument("--reason", required=True, help="why, for the journal and everybody who sees the value")
    for one in (substitute, block):
        one.add_argument("--for", dest="for_s", type=_length, default=DEFAULT_S, metavar="TIME",
                         help=f"such as 90s, 30m or 2h; at most {LONGEST_S / 3600:g}h (default: 1h)")  # fmt: skip
    overrides = commands.add("overrides", _overrides, "what is substituted or blocked now, by whom and until when")
    overrides.add_argument("--json", action="store_true", help="one JSON array")
    for one in (tags, substitute, block, restore, overrides):
        with_lang(one)
        with_site(one)


def _length(text: str) -> float:
    found = LENGTH.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a time such as 90s, 30m or 2h")
    return float(found[1]) * SECONDS[found[2] or ""]


# ---------------------------------------------------------------- tags


def _tags(chosen: argparse.Namespace) -> int:
    if chosen.static:
        site = load_site(chosen.site)
        found = _matching(site, chosen.pattern)
        return _print_json([described(tag, site.tags.index(tag.name)) for tag in found]) if chosen.json else (
            _print_static(found)
        )
    site, run_dir, _info = attached(chosen)
    found = _matching(site, chosen.pattern)
    now = SystemClock().mono_ns()
    store = TagStore.attach(run_dir / "tags", site.tags)
    samples = store.read_many(site.tags.indices([tag.name for tag in found]), now)
    if chosen.bad:
        n_looked = len(found)
        found, samples = _bad_ones(found, samples)
        if not found and not chosen.json:
            print(_word("no_bad", chosen.lang, n=n_looked))
            return 0
    by_point = _overrides_of(run_dir, chosen.lang) if (samples.quality & OVERRIDDEN).any() else {}
    if chosen.json:
        places = site.places
        return _print_json(
            [_live(tag, samples, at, now, places, by_point.get(tag.name)) for at, tag in enumerate(found)]
        )
    _print_live(found, samples, now, by_point, Wording(site.places, chosen.lang))
    return 0


def _bad_ones(found: list[Tag], samples: Snapshot) -> tuple[list[Tag], Snapshot]:
    bad = np.flatnonzero(samples.quality & Quality.BAD)
    times = samples.source_utc_ns[bad], samples.received_mono_ns[bad]
    return [found[at] for at in bad.tolist()], Snapshot(samples.value[bad], samples.quality[bad], *times)


def _matching(site: Site, pattern: str) -> list[Tag]:
    found = site.tags.match(pattern)
    if not found:
        raise CommandError(f"no tag matches {pattern!r}")
    return found


def _overrides_of(run_dir: Path, lang: str) -> dict[str, dict[str, Any]]:
    """Tag → what lies over it; empty when the core does not answer."""
    try:
        answer = ask(run_dir, SERVICE, {"op": "overrides"}, ASK_TIMEOUT_MS)
    except (CommandError, BusError, RequestTimeoutError) as error:
        print(f"gwanje: {_word('nobody', lang)}: {error}", file=sys.stderr)
        return {}
    return {one["point"]: one for one in answer["overrides"]}


def _print_json(rows: list[dict[str, Any]]) -> int:
    print(json.dumps(rows, ensure_ascii=False, indent=1))
    return 0


def _live(
    tag: Tag, samples: Snapshot, at: int, now: int, places: Places, override: dict[str, Any] | None
) -> dict[str, Any]:
    value, received = float(samples.value[at]), int(samples.received_mono_ns[at])
    device = tag.name.rpartition(".")[0]
    ko, en = places.get(device, (None, None))
    return {
        "name": tag.name,
        "device": None if ko is None else {"name": device, "label_ko": ko, "label_en": en},
        "value": value if math.isfinite(value) else None,
        "text": value_text(tag, value),
        "unit": tag.unit,
        "quality": int(samples.quality[at]),
        "quality_words": describe(int(samples.quality[at])),
        "age_s": round(max(now - received, 0) / NS_PER_S, 3) if received else None,
        "source_utc": utc_text(int(samples.source_utc_ns[at])) if received else None,
        "override": override,
    }


class Wording:
    """What tags, their devices and states are called in one language.

    Args:
        places: devices and microphone nodes by ``area.name``.
        lang: ``ko`` or ``en``.
    """

    def __init__(self, places: Places, lang: str) -> None:
        self._places = places
        self._column = column_of(lang)
        self.lang = lang

    def device(self, tag: Tag) -> str:
        """Label of the device or node that a tag belongs to; empty for a tag of the city itself."""
        names = self._places.get(tag.name.rpartition(".")[0])
        return names[self._column] if names else ""

    def what(self, tag: Tag) -> str:
        """Description of a tag, without its device's label before it."""
        text = (tag.description_ko, tag.description_en)[self._column]
        label = self.device(tag)
        rest = text.removeprefix(label).removeprefix(",").lstrip() if label else text
        return rest or text

    def value(self, tag: Tag, value: float) -> str:
        """A value in its decimals, or the word of a state."""
        return value_text(tag, value, self._column)


def _print_live(
    found: list[Tag], samples: Snapshot, now: int, by_point: dict[str, dict[str, Any]], wording: Wording
) -> None:
    """One line per tag: name, value, unit, age, quality, device, what it is."""
    words = {int(one): describe(int(one)) for one in np.unique(samples.quality)}
    rows = []
    for at, tag in enumerate(found):
        received = int(samples.received_mono_ns[at])
        age = f"{max(now - received, 0) / NS_PER_S:.2f} s" if received else _word("never", wording.lang)
        value = wording.value(tag, float(samples.value[at]))
        rows.append((tag.name, value, tag.unit, age, words[int(samples.quality[at])], wording.device(tag) or "–"))
    widths = [max(shown_width(row[column]) for row in rows) for column in range(6)]
    for tag, row in zip(found, rows, strict=True):
        cells = [_padded(row[column], widths[column], right=column in (1, 3)) for column in range(6)]
        line = f"{cells[0]}  {cells[1]} {cells[2]}  {cells[3]}  {cells[4]}  {cells[5]}  {wording.what(tag)}"
        if one := by_point.get(tag.name):
            kind, by = _word(one["kind"], wording.lang), _word("by", wording.lang, author=one["author"])
            left = _word("left", wording.lang, time=_left(one["left_s"], wording.lang))
            line += f"  [{kind} {by}: {one['reason']}; {left}]"
        print(line.rstrip())


def shown_width(text: str) -> int:
    """Columns that a text takes on a terminal: Korean letters take two."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - shown_width(text))
    return space + text if right else text + space


def _print_static(found: list[Tag]) -> int:
    """Three lines per tag: what it is, its numbers, its descriptions."""
    for tag in found:
        facts = [f"{tag.kind} of {tag.owner}", f"{_number(tag.low)} … {_number(tag.high)} {tag.unit}".rstrip()]
        if math.isfinite(tag.low_warning) or math.isfinite(tag.high_warning):
            facts.append(f"warns outside {_number(tag.low_warning)} … {_number(tag.high_warning)}")
        if tag.deadband:
            facts.append(f"deadband {tag.deadband:g}")
        facts.append(f"stale after {tag.stale_after_s:g} s" if tag.stale_after_s else "never stale")
        if tag.simulated:
            facts.append("SIMULATED")
        print(f"{tag.name}  {tag.unit or '–'}")
        print(f"    {tag.description_ko} · {tag.description_en}")
        print(f"    {'; '.join(facts)}")
        if tag.states:
            print("    " + ", ".join(f"{number} {ko} · {en}" for number, (ko, en) in enumerate(tag.states)))
        if tag.derived:
            print(f"    = {tag.derived}")
    return 0


def _number(value: float) -> str:
    return f"{value:,.12g}".replace(",", " ") if math.isfinite(value) else "any"


def value_text(tag: Tag, value: float, column: int = 1) -> str:
    """A value in its decimals, or the word of a state: Korean from column 0, English from 1."""
    if not math.isfinite(value):
        return "–"
    if tag.states and value == int(value) and 0 <= int(value) < len(tag.states):
        return tag.states[int(value)][column]
    return f"{value:.{tag.decimals}f}"


# ---------------------------------------------------------------- what lies over them


def _substitute(chosen: argparse.Namespace) -> int:
    site = _ask_about(chosen, {"op": "substitute", "value": chosen.value, "for_s": chosen.for_s})
    tag = site.tags.get(chosen.point)
    shown = f"{value_text(tag, chosen.value, column_of(chosen.lang))} {tag.unit}".rstrip()
    length = _left(chosen.for_s, chosen.lang)
    print(_word("is_substituted", chosen.lang, point=chosen.point, value=shown, time=length))
    return 0


def _block(chosen: argparse.Namespace) -> int:
    _ask_about(chosen, {"op": "block", "for_s": chosen.for_s})
    print(_word("is_blocked", chosen.lang, point=chosen.point, time=_left(chosen.for_s, chosen.lang)))
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    _ask_about(chosen, {"op": "restore"})
    print(_word("own", chosen.lang, point=chosen.point))
    return 0


def _ask_about(chosen: argparse.Namespace, message: dict[str, Any]) -> Site:
    site, run_dir, _info = attached(chosen)
    ask(run_dir, SERVICE, {"point": chosen.point, "reason": chosen.reason, **message})
    return site


def _overrides(chosen: argparse.Namespace) -> int:
    site, run_dir, _info = attached(chosen)
    found = sorted(ask(run_dir, SERVICE, {"op": "overrides"})["overrides"], key=lambda one: str(one["point"]))
    if chosen.json:
        return _print_json(found)
    if not found:
        print(_word("none", chosen.lang))
        return 0
    clock, lang = SiteTime(site.timezone), chosen.lang
    width = max(len(one["point"]) for one in found)
    for one in found:
        tag = site.tags.get(one["point"])
        cells = (
            _padded(one["point"], width, right=False),
            _padded(f"{value_text(tag, one['value'], column_of(lang))} {tag.unit}".rstrip(), 16, right=True),
            _padded(_word(one["kind"], lang), 11, right=False),
            _padded(_word("left", lang, time=_left(one["left_s"], lang)), 14, right=True),
            f"{_word('by', lang, author=one['author'])} "
            f"{_word('since', lang, time=clock.second(one['set_utc_ns']))}: {one['reason']}",
        )
        print("  ".join(cells))
    return 0


def _left(seconds: float, lang: str) -> str:
    """A length of time for people."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    h, m, s = (_word(key, lang) for key in ("h", "min", "s"))
    if hours:
        return f"{hours} {h} {minutes:02d} {m}"
    return f"{minutes} {m} {rest:02d} {s}" if minutes else f"{rest} {s}"
