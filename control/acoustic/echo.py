"""What the nodes hear of the site's own loudspeakers: while one sounds, its node is deaf on purpose, and says so.

The cameras' part tells by the tag ``speaking`` that a loudspeaker sounds. From then until a second after its end the
microphones at its pole judge nothing; the nodes within its reach go on, are marked, and believe no siren and no horn:
that is what a loudspeaker sounds like from afar. A shot or a window counts there as ever. After a self-test the node's
microphones are looked through for its sound (:mod:`gwanje.core.sound.chirp`), and the tags say who failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.audio_ring import SAMPLE_NS, SAMPLE_RATE_HZ, Head
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event, Scalar
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S
from gwanje.core.site.nodes import Node
from gwanje.core.sound.chirp import Verdict, judge
from gwanje.core.sound.mouths import Echo, EchoWatch, Mouth, Speaking, mouths_of
from gwanje.core.tags.quality import Quality, is_bad
from gwanje.core.tags.store import TagWriter
from gwanje.core.tags.table import UnknownTagError

NODE_QUANTITIES: Final = ("echo", "self_test", "self_test_db")
"""Tags of each node that this module writes."""
DOUBTED: Final = frozenset({"siren_alarm", "car_horn"})
"""Classes that a node near a sounding loudspeaker does not believe."""
REFRESH_NS: Final = NS_PER_S
"""How often the tags are written although nothing changed."""
BEFORE_NS: Final = NS_PER_S // 4
AFTER_NS: Final = 3 * NS_PER_S
"""The test sound takes 1.1 s; it is looked for so far before and behind the word of the camera's part."""
LOOK_NS: Final = AFTER_NS + NS_PER_S // 2
"""When it is looked for: streams are half a second late at the most."""


class SelfTest(IntEnum):
    """Values of the tag ``self_test``."""

    NEVER = 0
    HEARD = 1
    LOUDSPEAKER = 2
    MICROPHONE = 3
    MICROPHONES = 4


WORDS: Final[dict[SelfTest, tuple[str, str]]] = {
    SelfTest.NEVER: ("시험 안 함", "not tested"),
    SelfTest.HEARD: ("정상: 마이크가 시험음을 들었습니다", "well: the microphones heard the test sound"),
    SelfTest.LOUDSPEAKER: ("마이크는 살아 있으나 시험음이 들리지 않음 (스피커 고장 의심)",
                           "the microphones live and heard no test sound (loudspeaker dead?)"),
    SelfTest.MICROPHONE: ("마이크 일부가 시험음을 듣지 못함", "some microphones did not hear the test sound"),
    SelfTest.MICROPHONES: ("마이크 소리가 없음", "the microphones give no sound"),
}  # fmt: skip


class Ring(Protocol):
    """What is needed of the ring's reader; see :class:`gwanje.core.audio_ring.RingReader`."""

    def head(self, node_index: int) -> Head:
        """Where a node's writer stands."""

    def rows(self, node_index: int, start: int, stop: int) -> tuple[npt.NDArray[np.int16], int]:
        """What all microphones of a node heard in a stretch, (channels, n), and its first position."""


def result_of(verdict: Verdict | None) -> SelfTest:
    """What a test says; ``None`` when there was no sound to look through."""
    if verdict is None or len(verdict.silent) == len(verdict.heard):
        return SelfTest.MICROPHONES
    if not verdict.any:
        return SelfTest.LOUDSPEAKER
    return SelfTest.HEARD if verdict.ok else SelfTest.MICROPHONE


def look(ring: Ring, node_index: int, began_mono_ns: int) -> Verdict | None:
    """Look through a node's microphones for the test sound that its loudspeaker began to play at a time."""
    head = ring.head(node_index)
    newest = head.position - 1
    start = newest - (head.mono_ns - began_mono_ns + BEFORE_NS) // SAMPLE_NS
    stop = start + (BEFORE_NS + AFTER_NS) // SAMPLE_NS
    rows, _ = ring.rows(node_index, max(0, start), max(0, stop))
    if not head.mono_ns or rows.shape[-1] < 2 * SAMPLE_RATE_HZ:
        return None
    return judge(rows, SAMPLE_RATE_HZ)


class OwnSound:
    """See the module. Use it from one thread.

    Args:
        ctx: of the part.
        nodes: of the site, in the ring's order.
        writer: of the part's tags.
        publisher: of the part.

    Raises:
        PartError: tags that nodes need are missing.
    """

    def __init__(self, ctx: PartContext, nodes: Sequence[Node], writer: TagWriter, publisher: Publisher) -> None:
        self._ctx, self._nodes, self._writer, self._publisher = ctx, nodes, writer, publisher
        self._watch = EchoWatch(mouths_of(ctx.site.devices, nodes), nodes)
        self._speaking = ctx.tags.indices(self._watch.tags)
        self._echo = np.zeros(len(nodes), np.uint8)
        self._testing = [0] * len(self._watch.mouths)
        """When the test began that the tag of each loudspeaker shows; 0 for none."""
        self._waiting: list[tuple[int, int]] = []
        """(loudspeaker, when its test began) of tests whose sound is not back yet."""
        try:
            self._ids = [ctx.tags.indices([f"{node.prefix}.{word}" for node in nodes]) for word in NODE_QUANTITIES]
        except UnknownTagError as error:
            raise PartError(f"tags/acoustic.toml: {error}, which nodes.toml needs") from None
        self._results, self._levels = self._taken_up()
        self._told_ns = 0
        self._told = self._echo.copy()

    def _taken_up(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Results of tests that an earlier process of this run has told."""
        results, levels = (self._ctx.store.read_many(ids, 0) for ids in self._ids[1:])
        known = np.isfinite(results.value)
        return np.where(known, results.value, 0.0), np.where(known, levels.value, np.nan)

    def muted(self, node_index: int) -> bool:
        """Whether a node's own loudspeaker sounds: what it hears is not judged."""
        return bool(self._echo[node_index] == Echo.OWN)

    def doubts(self, node_index: int, class_name: str) -> bool:
        """Whether what a node heard is more likely a loudspeaker's than the street's."""
        echo = self._echo[node_index]
        return bool(echo == Echo.OWN or (echo == Echo.NEAR and class_name in DOUBTED))

    def mark(self, node_index: int) -> dict[str, Scalar]:
        """What an event of a node says of it: the camera whose loudspeaker sounds within reach, if one does."""
        camera = self._watch.heard_by(node_index, self._ctx.clock.mono_ns()) if self._echo[node_index] else ""
        return {"echo_of": camera} if camera else {}

    def quality(self, node_index: int) -> Quality:
        """Bits for what is said of a node's sounds: uncertain while it hears a loudspeaker of ours."""
        return Quality.UNCERTAIN if self._echo[node_index] else Quality.GOOD

    def step(self, now_ns: int, ring: Ring | None) -> None:
        """Look at the loudspeakers, at the tests that are due, and tell; call it before samples are taken."""
        if self._watch.mouths:
            seen = self._ctx.store.read_many(self._speaking, now_ns)
            self._echo = self._watch.step(seen.value, seen.quality, now_ns)
            for at, value in enumerate(seen.value.tolist()):
                testing = value == Speaking.SELF_TEST and not is_bad(int(seen.quality[at]))
                if testing and not self._testing[at]:
                    self._testing[at] = int(seen.received_mono_ns[at])
                    self._waiting.append((at, self._testing[at]))
                elif not testing:
                    self._testing[at] = 0
        due = [one for one in self._waiting if now_ns - one[1] >= LOOK_NS]
        for one in due:
            self._waiting.remove(one)
            self._tell_test(one[0], None if ring is None else look(ring, self._watch.own[one[0]], one[1]))
        if due or now_ns - self._told_ns >= REFRESH_NS or not np.array_equal(self._told, self._echo):
            self._report(now_ns)

    def _tell_test(self, mouth_index: int, verdict: Verdict | None) -> None:
        """Note and publish what a test says."""
        mouth, node_index = self._watch.mouths[mouth_index], self._watch.own[mouth_index]
        result = result_of(verdict)
        heard = () if verdict is None else verdict.heard
        best = max(heard, key=lambda one: one.snr_db, default=None)
        self._results[node_index] = result
        self._levels[node_index] = best.level_db if best is not None and best.ok else np.nan
        data: dict[str, Scalar] = {"camera": mouth.camera, "result": result.name.lower()}
        for at, one in enumerate(heard[:8]):
            data |= {f"snr_db_{at + 1}": round(one.snr_db, 1), f"level_db_{at + 1}": round(one.level_db, 1)}
            if best is not None and one.ok:
                data[f"delay_us_{at + 1}"] = round((one.delay_s - best.delay_s) * 1e6)
        self._publisher.event(_event(self._ctx, mouth, self._nodes[node_index], result, data))

    def _report(self, now_ns: int) -> None:
        """Write and publish the tags of all nodes."""
        self._told_ns, self._told = now_ns, self._echo.copy()
        base = np.array([Quality.SIMULATED if one.simulated else Quality.GOOD for one in self._nodes], np.uint16)
        unknown = np.where(np.isnan(self._levels), np.uint16(Quality.BAD | Quality.NOT_IMPLEMENTED), np.uint16(0))
        ids = np.concatenate(self._ids)
        values = np.concatenate([self._echo.astype(np.float64), self._results, np.nan_to_num(self._levels)])
        quality = np.concatenate([base, base, base | unknown])
        order = np.argsort(ids)
        times = np.full(len(ids), self._ctx.clock.utc_ns(), np.int64)
        self._writer.write(ids[order], values[order], quality[order], times, now_ns)
        self._publisher.scan(ids[order], values[order], quality[order], times)


def _event(ctx: PartContext, mouth: Mouth, node: Node, result: SelfTest, data: dict[str, Scalar]) -> Event:
    ko, en = WORDS[result]
    return Event(
        kind="device", source=node.name, class_name="self_test", utc_ns=ctx.clock.utc_ns(),
        mono_ns=ctx.clock.mono_ns(), text_ko=f"{mouth.label_ko} 자가 시험: {ko}",
        text_en=f"Self-test of {mouth.label_en}: {en}", data=data,
    )  # fmt: skip
