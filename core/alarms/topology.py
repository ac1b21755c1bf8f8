"""``topology.toml``: the site's single-line as a tree, for grouping alarms and finding what they have in common.

Each ``[[node]]`` names its parent, so that the tree runs from the utility's connection over breaker and feeders to
devices, meters, lamps and microphones; the control centre itself is a second tree. Alarms belong to the node whose
``tags`` pattern names theirs (the longest pattern wins) or whose ``sources`` name the event's source.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gwanje.core.site.toml_reader import Document, Reader
from gwanje.core.tags.expression import ExpressionError, compile_condition
from gwanje.core.tags.table import WILDCARD, TagTable

KINDS = ("connection", "breaker", "feeder", "device", "load", "microphone", "centre", "part")
GROUP_KINDS = frozenset({"connection", "breaker", "feeder", "centre"})
"""Nodes that alarms are grouped by: what can take others down with it."""
NODES_MAX = 5_000
"""A tenth of the tags' number would be more nodes than any single-line shows."""
DEPTH_MAX = 16
"""A single-line of low voltage under medium voltage has six levels."""

Places = Mapping[str, tuple[str, str]]
"""Device or microphone as ``area.name`` → its name in Korean and English."""


@dataclass(frozen=True, slots=True)
class TopologyNode:
    """One node of the tree.

    Attributes:
        id: unique.
        kind: one of :data:`KINDS`.
        name_ko: as operators call it.
        name_en: the same in English.
        parent: what feeds it; empty for a root.
        tags: patterns of the tags that belong to it.
        sources: of events that belong to it.
        dead_when: expression; while it holds, nothing behind this node is fed.
    """

    id: str
    kind: str
    name_ko: str
    name_en: str
    parent: str = ""
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    dead_when: str = ""


class _Patterns:
    """Patterns of tags and their nodes; those of one device each, ``area.device.*``, are looked up, not tried.

    Args:
        patterns: (pattern, node); of two as long the first one wins.
    """

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        self._of_device: dict[str, tuple[int, int, str]] = {}
        others: list[tuple[int, int, str, str]] = []
        for at, (pattern, node) in enumerate(patterns):
            device = pattern.removesuffix(".*")
            if device != pattern and not WILDCARD.search(device):
                self._of_device.setdefault(device, (-len(pattern), at, node))
            else:
                others.append((-len(pattern), at, node, pattern))
        self._others = sorted(others)

    def longest(self, tag: str) -> str:
        """Node of the longest pattern that matches; empty for none."""
        best: tuple[int, int, str] = (1, 0, "")
        beginning = tag
        while best[0] > 0 and "." in beginning:
            beginning = beginning.rpartition(".")[0]
            best = self._of_device.get(beginning, best)
        for length, at, node, pattern in self._others:
            if (length, at) > best[:2]:
                break
            if fnmatch.fnmatchcase(tag, pattern):
                return node
        return best[2]


@dataclass(frozen=True, slots=True)
class Topology:
    """The tree of a site; empty for a site without one."""

    nodes: tuple[TopologyNode, ...] = ()
    _by_id: dict[str, TopologyNode] = field(default_factory=dict, repr=False)
    _by_source: dict[str, TopologyNode] = field(default_factory=dict, repr=False)
    _patterns: _Patterns = field(default_factory=lambda: _Patterns(()), repr=False)
    _by_tag: dict[str, str] = field(default_factory=dict, repr=False)
    _paths: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    _fed: dict[str, set[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def build(cls, nodes: Iterable[TopologyNode]) -> Topology:
        """Index the nodes; parents must be among them, without a circle."""
        known = tuple(nodes)
        patterns = _Patterns([(pattern, node.id) for node in known for pattern in node.tags])
        sources = {source: node for node in known for source in node.sources}
        tree = cls(known, {node.id: node for node in known}, sources, patterns)
        parents = {node.parent for node in known}
        for node in known:
            path = tree._walk(node.id)
            tree._paths[node.id] = path
            if node.id not in parents:
                for above in path[1:]:
                    tree._fed.setdefault(above, set()).add(node.id)
        return tree

    def _walk(self, node_id: str) -> tuple[str, ...]:
        path: list[str] = []
        while node_id in self._by_id and len(path) < DEPTH_MAX:
            path.append(node_id)
            node_id = self._by_id[node_id].parent
        return tuple(path)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._by_id

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def node(self, node_id: str) -> TopologyNode:
        """A node by its id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[node_id]

    def of_tag(self, tag: str) -> str:
        """Node that a tag belongs to; empty for none."""
        if tag not in self._by_tag:
            self._by_tag[tag] = self._patterns.longest(tag)
        return self._by_tag[tag]

    def of_source(self, source: str) -> str:
        """Node that an event's source belongs to; empty for none."""
        node = self._by_source.get(source)
        return node.id if node is not None else ""

    def path(self, node_id: str) -> tuple[str, ...]:
        """The node and all that feeds it, root last; empty for no node."""
        return self._paths.get(node_id, ())

    def group_of(self, node_id: str) -> str:
        """The nearest node on the path that alarms are grouped by; the root where there is none."""
        path = self.path(node_id)
        return next((one for one in path if self._by_id[one].kind in GROUP_KINDS), path[-1] if path else "")

    def fed_by(self, node_id: str) -> set[str]:
        """The ends of the tree behind a node."""
        return self._fed.get(node_id, set())

    def name(self, node_id: str) -> tuple[str, str]:
        """Korean and English name; empty texts for no node."""
        node = self._by_id.get(node_id)
        return (node.name_ko, node.name_en) if node is not None else ("", "")


def read_topology(document: Document, tags: TagTable, places: Places) -> Topology:
    """The tree of a file; what is wrong with it stands in the document's problems."""
    root = document.root()
    readers = root.readers("node")
    root.finish()
    if len(readers) > NODES_MAX:
        document.problem(("node",), f"{len(readers)} nodes, at most {NODES_MAX}")
        return Topology()
    nodes: list[TopologyNode] = []
    seen: dict[str, Reader] = {}
    for reader in readers:
        for node in _nodes_of(reader, tags, places):
            if node.id in seen:
                reader.problem("id", f"node {node.id!r} stands here already")
                continue
            seen[node.id] = reader
            nodes.append(node)
    _check_parents(nodes, seen)
    _check_owners(nodes, seen)
    return Topology.build(nodes) if not document.problems else Topology()


def _nodes_of(reader: Reader, tags: TagTable, places: Places) -> list[TopologyNode]:
    """The node of a table, or one for each place that ``each`` names."""
    kind = reader.text("kind", choices=KINDS)
    parent = reader.text("parent", "")
    if reader.has("each"):
        made = _each(reader, kind, parent, places)
        reader.finish()
        return made
    place = reader.text("place", "")
    if place and place not in places:
        reader.problem("place", f"no device or microphone node {place!r}")
    known = places.get(place)
    unnamed = "" if place else None  # a place that is not there was told; it would have the names
    dead_when = reader.text("dead_when", "")
    if dead_when:
        try:
            compile_condition(dead_when, tags)
        except ExpressionError as error:
            reader.problem("dead_when", str(error))
    own = (f"{place}.*",) if place else ()
    node = TopologyNode(
        id=reader.text("id"),
        kind=kind,
        name_ko=reader.text("ko", known[0] if known else unnamed),
        name_en=reader.text("en", known[1] if known else unnamed),
        parent=parent,
        tags=(*own, *_texts(reader, "tags")),
        sources=_texts(reader, "sources"),
        dead_when=dead_when,
    )
    for pattern in node.tags:
        if not tags.match(pattern):
            reader.problem("tags" if pattern not in own else "place", f"no tag matches {pattern!r}")
    reader.finish()
    return [node]


def _each(reader: Reader, kind: str, parent: str, places: Places) -> list[TopologyNode]:
    pattern = reader.text("each")
    matching = [place for place in places if fnmatch.fnmatchcase(place, pattern)]
    if not matching:
        reader.problem("each", f"no device or microphone node matches {pattern!r}")
    return [
        TopologyNode(name, kind, *places[place], parent=parent, tags=(f"{place}.*",), sources=(name,))
        for place in matching
        for name in [place.split(".", 1)[1]]
    ]


def _texts(reader: Reader, key: str) -> tuple[str, ...]:
    found = reader.sequence(key)
    if not all(isinstance(one, str) and one for one in found):
        reader.problem(key, "must be an array of texts that are not empty")
        return ()
    return tuple(found)


def _check_parents(nodes: Sequence[TopologyNode], readers: Mapping[str, Reader]) -> None:
    parents = {node.id: node.parent for node in nodes}
    for node in nodes:
        if node.parent and node.parent not in parents:
            readers[node.id].problem("parent", f"no node {node.parent!r}")
            continue
        at, steps = node.parent, 0
        while at and at in parents and at != node.id and steps <= DEPTH_MAX:
            at, steps = parents[at], steps + 1
        if at == node.id:
            readers[node.id].problem("parent", f"node {node.id!r} feeds itself")
        elif steps > DEPTH_MAX:
            readers[node.id].problem("parent", f"more than {DEPTH_MAX} levels")


def _check_owners(nodes: Sequence[TopologyNode], readers: Mapping[str, Reader]) -> None:
    owner: dict[str, str] = {}
    for key in ("tags", "sources"):
        owner.clear()
        for node in nodes:
            for one in getattr(node, key):
                if owner.setdefault(one, node.id) != node.id:
                    readers[node.id].problem(key, f"{one!r} belongs to node {owner[one]!r} already")
