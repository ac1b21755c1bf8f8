"""Reading ``tags/*.toml``: declared tags with the place they stand at, and what every tag's name promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from gwanje.core.city.part import ENTRIES
from gwanje.core.site.nodes import Node
from gwanje.core.site.toml_reader import Document, KeyPath, Reader
from gwanje.core.tags.table import KINDS, Tag

UNITS = {
    "W", "var", "VA", "Wh", "varh", "V", "A", "Hz", "s", "ms", "us", "ns", "K", "°C", "m", "m/s", "B", "B/s", "1/s",
    "dB", "dBFS", "rad", "lx", "%", "W/m²", "KRW", "J", "kg", "Ah", "VAh", "m³", "m³/s", "Pa", "kg/s", "g/m³", "ppm",
    "",
}  # fmt: skip
"""SI units and the few beside them that tags may carry; kW, percent of a ratio and degrees are the screen's."""

SUFFIX_UNITS = {
    "w": "W", "wh": "Wh", "hz": "Hz", "v": "V", "a": "A", "var": "var", "va": "VA", "s": "s", "ms": "ms", "us": "us",
    "pct": "%", "db": "dB", "bytes": "B", "varh": "varh", "lx": "lx", "ppm": "ppm", "pa": "Pa", "krw": "KRW",
}  # fmt: skip
"""Last word of a quantity → the unit it promises: ``discharge_w`` is in W. See :data:`PASSED_QUALIFIERS`."""
PASSED_QUALIFIERS = {"max", "min", "setpoint", "capacity", "readback"}


@dataclass(frozen=True, slots=True)
class DeclaredTag:
    """A tag with the place it was declared at."""

    tag: Tag
    document: Document
    path: KeyPath


def read_tags(documents: Iterable[Document], nodes: Iterable[Node] = ()) -> list[DeclaredTag]:
    """All tags of a site's ``tags/*.toml``.

    Args:
        documents: the files.
        nodes: microphone nodes, for tables with ``for_nodes``: one tag for each node whose ``area.name`` fits.
    """
    known = tuple(nodes)
    declared: list[DeclaredTag] = []
    for document in documents:
        root = document.root()
        for reader in root.readers("tag"):
            declared.extend(DeclaredTag(tag, document, reader.path) for tag in _tag_family(reader, known))
        root.finish()
    return declared


def read_quantity(reader: Reader) -> dict[str, Any]:
    """What tags and the points of profiles have in common, as keywords of :class:`Tag`; texts under ``ko``, ``en``."""
    unit = reader.text("unit", "" if reader.document.name.partition("/")[2].startswith("profiles/") else None)
    low, high = reader.number("low", -math.inf), reader.number("high", math.inf)
    common: dict[str, Any] = {
        "ko": reader.text("ko"),
        "en": reader.text("en"),
        "unit": unit,
        "kind": reader.text("kind", "measurement", choices=KINDS),
        "low": low,
        "high": high,
        "deadband": reader.number("deadband", 0.0, 0.0),
        "stale_after_s": reader.number("stale_after_s", 0.0, 0.0, 86_400.0),
        "decimals": reader.integer("decimals", 1, 0, 9),
        "states": _states(reader),
        **_warnings(reader, low, high),
    }
    if not low < high:
        reader.problem("low", f"low {low:g} is not below high {high:g}")
    if unit not in UNITS:
        reader.problem("unit", f"wrong unit {unit!r}: tags carry SI units ({', '.join(sorted(UNITS - {''}))})")
    return common


def check_promise(reader: Reader, key: str, quantity: str, unit: str) -> None:
    """A quantity's last word says its unit; the unit must be that."""
    promise = [word for word in quantity.split("_") if word not in PASSED_QUALIFIERS]
    if "per" in promise[:-1]:
        return  # a rate: ``messages_per_s`` is in 1/s
    promised = SUFFIX_UNITS.get(promise[-1]) if len(promise) > 1 else None
    if promised is not None and unit != promised and not (promised == "dB" and unit == "dBFS"):
        reader.problem("unit", f"wrong unit {unit!r}: the name {key!r} promises {promised!r}")


def _tag_family(reader: Reader, nodes: Sequence[Node]) -> list[Tag]:
    """The tag of a table, or the family that ``for_n = [first, last]`` or ``for_nodes = "pattern"`` makes of it.

    In the texts of the second, ``{node}`` is the node's ``area.name``, ``{ko}`` and ``{en}`` are its names.
    """
    name = reader.text("name")
    common = read_quantity(reader)
    texts = common.pop("ko"), common.pop("en")
    common["owner"] = reader.text("owner", choices=(*ENTRIES, "supervisor"))
    derived = reader.text("derived", "")
    numbers = reader.sequence("for_n")
    pattern = reader.text("for_nodes", "")
    reader.finish()
    family: list[dict[str, Any]] = [{}]
    if pattern:
        chosen = [node for node in nodes if fnmatchcase(node.prefix, pattern)]
        family = [{"node": node.prefix, "ko": node.label_ko, "en": node.label_en} for node in chosen]
        if numbers:
            reader.problem("for_n", "either for_n or for_nodes")
    elif numbers:
        if len(numbers) != 2 or not all(isinstance(one, int) for one in numbers) or numbers[0] > numbers[1]:
            reader.problem("for_n", "must be [first, last]")
            return []
        family = [{"n": one} for one in range(numbers[0], numbers[1] + 1)]
    tags = []
    for numbered in family:
        try:
            full, ko, en, computed = (text.format(**numbered) for text in (name, *texts, derived))
        except (KeyError, IndexError, ValueError) as error:
            reader.problem("name", f"cannot be expanded: {error}")
            return []
        tags.append(Tag(name=full, description_ko=ko, description_en=en, derived=computed, **common))
    if tags and common["unit"] in UNITS:
        _check_tag_name(reader, tags[0])
    return tags


def _warnings(reader: Reader, low: float, high: float) -> dict[str, float]:
    """``limits = {low_warning = …, high_warning = …}``, inside low…high."""
    limits = reader.reader("limits")
    if limits is None:
        return {}
    found = {
        "low_warning": limits.number("low_warning", -math.inf, low, high),
        "high_warning": limits.number("high_warning", math.inf, low, high),
    }
    limits.finish()
    if not found["low_warning"] < found["high_warning"]:
        low, high = found.values()
        limits.problem(None, f"low_warning {low:g} is not below high_warning {high:g}")
    return found


def _states(reader: Reader) -> tuple[tuple[str, str], ...]:
    states = []
    for one in reader.sequence("states"):
        if not isinstance(one, list) or len(one) != 2 or not all(isinstance(word, str) for word in one):
            reader.problem("states", "must be an array of [Korean, English] pairs")
            return ()
        states.append((one[0], one[1]))
    return tuple(states)


def _check_tag_name(reader: Reader, tag: Tag) -> None:
    words = tag.name.split(".")
    if len(words) != 3 or not all(words) or tag.name != tag.name.lower() or " " in tag.name:
        reader.problem("name", f"{tag.name!r} is not area.device.quantity in lower case")
        return
    check_promise(reader, tag.name, words[2], tag.unit)
