"""Limits of groups of chargers: what each shall draw, what each may draw as far as we know, what to send. No I/O.

The second is what counts. A charger that we cannot command counts with its last confirmed limit until that is over,
then with its fallback; one whose answer we miss counts with the larger of both limits; one that refuses counts with its
fallback, or with what it is seen to draw. Others are lowered first, and raised only into room that has been confirmed:
so the sum stays below the limit at every moment, not only in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.ocpp.allot import Claim, allot
from gwanje.io.field.ocpp.settings import ChargerSettings

SLACK_NS = 15 * NS_PER_S
"""A charger's clock may be wrong by this without our knowing: so long before and after its end, a limit counts together
with what comes after it. It is also the time in which others make room."""
SLOT_NS = 300 * NS_PER_S
"""How long a car charges before its turn may pass to a paused one: contactors and cars dislike shorter turns."""
REFUSED_NS = 60 * NS_PER_S
"""A charger that refused a limit is asked again after a minute: it may have been busy, it may never learn."""
SMALL = 0.02
"""A raise of less than this part of the rating waits for the next refresh: every raise is a frame."""


@dataclass(slots=True)
class Leaf:
    """One charger.

    Attributes:
        name: of its device.
        settings: of it.
        chain: indices of the limits that it counts against.
        duration_ns: of its profiles.
        ready: it is connected, known, and nobody bars it.
        active: a session goes on.
        waits: its car does not want power now.
        cap_w: a person's limit for this charger alone.
        measured_w: what its meter says.
        target_w: what it shall draw.
        confirmed_w: the limit that it took last, NaN before the first, …
        until_ns: … and until when.
        maybe_w: a limit that it may have taken, NaN for none, …
        maybe_until_ns: … and until when.
        before: the same two before the limit under way.
        sending: an answer is awaited.
        refused_until_ns: leave it alone until then.
        served_ns: when its present turn began; 0 while it is paused.
        began_ns: when it was last served after a pause.
        left_ns: when it was served last.
        turns: that it had.
    """

    name: str
    settings: ChargerSettings
    chain: tuple[int, ...]
    duration_ns: int
    ready: bool = False
    active: bool = False
    waits: bool = False
    cap_w: float = math.inf
    measured_w: float = 0.0
    target_w: float = 0.0
    confirmed_w: float = math.nan
    until_ns: int = 0
    maybe_w: float = math.nan
    maybe_until_ns: int = 0
    before: tuple[float, int] = (math.nan, 0)
    sending: bool = False
    refused_until_ns: int = 0
    served_ns: int = 0
    began_ns: int = 0
    left_ns: int = 0
    turns: int = 0

    def commanded(self, now_ns: int) -> bool:
        """Whether it does what it is told."""
        return self.ready and now_ns >= self.refused_until_ns

    def may_draw_w(self, now_ns: int) -> float:
        """The most that it draws now, as far as we know, W."""
        fallback = self.settings.fallback_w
        if now_ns < self.refused_until_ns:
            fallback = max(fallback, self.measured_w)
        most = fallback
        if now_ns < self.until_ns + SLACK_NS and not math.isnan(self.confirmed_w):
            sure = now_ns + SLACK_NS < self.until_ns and now_ns >= self.refused_until_ns
            most = self.confirmed_w if sure else max(self.confirmed_w, fallback)
        if now_ns < self.maybe_until_ns:
            most = max(most, self.maybe_w)
        return most

    def most_w(self) -> float:
        """The most that it shall ever be given."""
        return self.settings.rounded_w(min(self.settings.rated_w, self.cap_w))


@dataclass(frozen=True, slots=True)
class Send:
    """Tell a charger its limit."""

    leaf: str
    limit_w: float


@dataclass(slots=True)
class Node:
    """One limit.

    Attributes:
        name: of the group.
        limit_w: that holds now.
        members: chargers behind it, directly or not.
    """

    name: str
    limit_w: float
    members: list[Leaf] = field(default_factory=list)


class LimitDesk:
    """See the module.

    Args:
        limits_w: group → what it may draw.
        leaves: charger → (settings, groups above it, duration of its profiles in s).
        now_ns: monotonic. Nobody knows what chargers hold from before: until that is over they may draw all they can.
    """

    def __init__(
        self, limits_w: Mapping[str, float], leaves: Mapping[str, tuple[ChargerSettings, Sequence[str], float]],
        now_ns: int,
    ) -> None:  # fmt: skip
        self.nodes = [Node(name, limit) for name, limit in limits_w.items()]
        self._index = {node.name: index for index, node in enumerate(self.nodes)}
        self.leaves: dict[str, Leaf] = {}
        for name, (settings, groups, duration_s) in leaves.items():
            chain = tuple(self._index[group] for group in groups)
            duration_ns = round(duration_s * NS_PER_S)
            leaf = Leaf(name, settings, chain, duration_ns)
            leaf.maybe_w, leaf.maybe_until_ns = settings.rated_w, now_ns + duration_ns + SLACK_NS
            self.leaves[name] = leaf
            for index in chain:
                self.nodes[index].members.append(leaf)
        self.dirty = True
        self._next_ns = 0

    def node(self, group: str) -> Node:
        """A group."""
        return self.nodes[self._index[group]]

    # ---- what happens

    def limit(self, group: str, limit_w: float) -> None:
        """A group's limit changes."""
        node = self.node(group)
        self.dirty |= node.limit_w != limit_w
        node.limit_w = limit_w

    def cap(self, name: str, cap_w: float) -> None:
        """A person limits one charger; infinite ends it."""
        self.dirty |= self.leaves[name].cap_w != cap_w
        self.leaves[name].cap_w = cap_w

    def presence(self, name: str, ready: bool) -> None:
        """A charger came or went, or may not be written any more."""
        leaf = self.leaves[name]
        if leaf.ready != ready:
            leaf.ready = ready
            leaf.sending = False
            leaf.refused_until_ns = 0
            self.dirty = True

    def session(self, name: str, active: bool, waits: bool) -> None:
        """A charger's session began or ended, or its car wants (no) power."""
        leaf = self.leaves[name]
        self.dirty |= (leaf.active, leaf.waits) != (active, waits)
        leaf.active, leaf.waits = active, waits

    def measured(self, name: str, load_w: float) -> None:
        """What a charger draws."""
        self.leaves[name].measured_w = load_w

    def confirmed(self, name: str, limit_w: float, sent_ns: int) -> None:
        """A charger took a limit that was sent at a monotonic time."""
        leaf = self.leaves[name]
        leaf.sending = False
        leaf.confirmed_w, leaf.until_ns = limit_w, sent_ns + leaf.duration_ns
        leaf.maybe_until_ns = 0

    def failed(self, name: str, now_ns: int, *, refused: bool) -> None:
        """A charger refused a limit, or did not answer; then it may have taken it."""
        leaf = self.leaves[name]
        leaf.sending = False
        if refused:
            leaf.maybe_w, leaf.maybe_until_ns = leaf.before
        leaf.refused_until_ns = now_ns + REFUSED_NS
        self.dirty = True

    def unsent(self, name: str) -> None:
        """A limit did not leave after all."""
        leaf = self.leaves[name]
        leaf.sending = False
        leaf.maybe_w, leaf.maybe_until_ns = leaf.before
        self.dirty = True

    def cleared(self, name: str) -> None:
        """A charger has no limit of ours any more."""
        leaf = self.leaves[name]
        leaf.confirmed_w, leaf.until_ns, leaf.maybe_until_ns = math.nan, 0, 0

    # ---- what to do

    def plan(self, now_ns: int) -> list[Send]:
        """What to send now; call it after everything that happened, and once a second.

        Each charger that is named counts as being asked until :meth:`confirmed` or :meth:`failed`.
        """
        if self.dirty or now_ns >= self._next_ns:
            self._share_out(now_ns)
            self.dirty = False
            self._next_ns = min(self._changes(now_ns), default=now_ns + SLOT_NS)
        lower: list[Send] = []
        raises: list[Leaf] = []
        for leaf in self.leaves.values():
            if leaf.sending or not leaf.commanded(now_ns):
                continue
            if not leaf.chain and math.isinf(leaf.cap_w):
                continue  # nobody limits it
            now_w = leaf.may_draw_w(now_ns)
            due = math.isnan(leaf.confirmed_w) or now_ns >= leaf.until_ns - leaf.duration_ns // 2
            if leaf.target_w < now_w or (due and leaf.target_w <= now_w):
                lower.append(self._send(leaf, leaf.target_w, now_ns))
            elif leaf.target_w > now_w and (due or self._worth(leaf, now_w)):
                raises.append(leaf)
        return lower + list(self._raise(raises, now_ns))

    def _worth(self, leaf: Leaf, now_w: float) -> bool:
        return leaf.target_w - now_w >= SMALL * leaf.settings.rated_w or leaf.target_w == leaf.most_w()

    def _raise(self, leaves: Sequence[Leaf], now_ns: int) -> Iterator[Send]:
        """Those who have room; who has none but is due, keeps what it has."""
        room = [node.limit_w - self.sum_w(node, now_ns) for node in self.nodes]
        for leaf in sorted(leaves, key=lambda one: (not one.active, one.may_draw_w(now_ns))):
            now_w = leaf.may_draw_w(now_ns)
            more = leaf.target_w - now_w
            if all(more <= room[index] + 1e-6 for index in leaf.chain):
                for index in leaf.chain:
                    room[index] -= more
                yield self._send(leaf, leaf.target_w, now_ns)
            elif now_ns < leaf.until_ns and now_ns >= leaf.until_ns - leaf.duration_ns // 2:
                yield self._send(leaf, min(leaf.confirmed_w, now_w), now_ns)

    def _send(self, leaf: Leaf, limit_w: float, now_ns: int) -> Send:
        before = leaf.may_draw_w(now_ns)
        leaf.sending = True
        leaf.before = leaf.maybe_w, leaf.maybe_until_ns
        leaf.maybe_w, leaf.maybe_until_ns = max(limit_w, before), now_ns + leaf.duration_ns + SLACK_NS
        return Send(leaf.name, limit_w)

    def sum_w(self, node: Node, now_ns: int) -> float:
        """The most that a group draws now, as far as we know."""
        return math.fsum(leaf.may_draw_w(now_ns) for leaf in node.members)

    def tightest(self, name: str, now_ns: int) -> str:
        """The group of a charger's that has the least left to give; empty for a charger without one."""
        nodes = [self.nodes[index] for index in self.leaves[name].chain]
        found = min(nodes, key=lambda node: node.limit_w - self.sum_w(node, now_ns), default=None)
        return found.name if found is not None else ""

    def has_its_share(self, name: str, now_ns: int) -> bool:
        """Whether a charger holds what it is to have now: no raise of any size waits for room."""
        leaf = self.leaves[name]
        return not self.dirty and leaf.target_w - leaf.may_draw_w(now_ns) < SMALL * leaf.settings.rated_w

    def settled(self, group: str, now_ns: int) -> bool:
        """Whether a group has come to what was asked of it."""
        node = self.node(group)
        return not self.dirty and self.sum_w(node, now_ns) <= node.limit_w + 1e-6

    def _changes(self, now_ns: int) -> Iterator[int]:
        """When the next share-out is due without anything happening."""
        for leaf in self.leaves.values():
            if not leaf.commanded(now_ns):
                ends = (leaf.until_ns - SLACK_NS, leaf.until_ns + SLACK_NS, leaf.maybe_until_ns, leaf.refused_until_ns)
                yield from (one for one in ends if one > now_ns)
            elif leaf.served_ns and leaf.chain:
                yield max(leaf.served_ns + SLOT_NS, now_ns + NS_PER_S)

    def _share_out(self, now_ns: int) -> None:
        """New targets: running sessions first, in their turns; who is idle shares what is left."""
        room = [node.limit_w for node in self.nodes]
        willing: list[Leaf] = []
        for leaf in self.leaves.values():
            if leaf.commanded(now_ns):
                willing.append(leaf)
                continue
            leaf.target_w = leaf.may_draw_w(now_ns)
            leaf.served_ns = 0
            for index in leaf.chain:
                room[index] -= leaf.target_w
        for active in (True, False):
            leaves = [leaf for leaf in willing if leaf.active == active]
            leaves.sort(key=lambda one: self._turn(one, now_ns))
            claims = [Claim(leaf.chain, *self._wants(leaf)) for leaf in leaves]
            for leaf, given in zip(leaves, allot(claims, room), strict=True):
                leaf.target_w = leaf.settings.rounded_w(given)
                self._serve(leaf, leaf.active and given > 0.0, now_ns)
                for index in leaf.chain:
                    room[index] -= leaf.target_w

    @staticmethod
    def _wants(leaf: Leaf) -> tuple[float, float]:
        """Least and most power that are of use; what a person has asked for is kept, also where a car will stop."""
        most = leaf.most_w()
        least = min(leaf.settings.min_w, most)
        if leaf.active and leaf.waits:
            most = min(most, max(least, leaf.settings.rounded_w(1.2 * leaf.measured_w)))
        return least, most

    @staticmethod
    def _turn(leaf: Leaf, now_ns: int) -> tuple[int, int, int]:
        """Order in which least powers are given: who has its turn, who has waited longest, who began last."""
        if leaf.served_ns and now_ns - leaf.served_ns < SLOT_NS:
            return 0, 0, 0
        return (2, -leaf.began_ns, leaf.turns) if leaf.served_ns else (1, leaf.left_ns, leaf.turns)

    @staticmethod
    def _serve(leaf: Leaf, served: bool, now_ns: int) -> None:
        if served and (not leaf.served_ns or now_ns - leaf.served_ns >= SLOT_NS):
            leaf.began_ns = leaf.began_ns if leaf.served_ns else now_ns
            leaf.served_ns = now_ns
            leaf.turns += 1
        elif not served:
            leaf.left_ns = now_ns if leaf.served_ns else leaf.left_ns
            leaf.served_ns = 0
