"""The part ``acoustic``: the sound ring in, events, spectra and tags out. The sound itself never leaves memory.

Without a usable model file the part says so once, loudly, and goes on with levels and spectra. What follows an event —
where it was, which incident it is, cameras, lamps — is :mod:`gwanje.control.acoustic.live.happenings`, which is loaded
once the city has begun: its libraries would hold up the first values.
"""

from __future__ import annotations

import importlib
import resource
import threading
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import (
    BLOCK_FRAMES,
    BLOCK_SAMPLES,
    COLUMN_FRAMES,
    SAMPLE_NS,
    Block,
    Chain,
    Heard,
)
from gwanje.control.acoustic.classes import CLASSES
from gwanje.control.acoustic.ears import Ears
from gwanje.control.acoustic.echo import OwnSound
from gwanje.control.acoustic.features import HOP_S, N_MELS, SAMPLE_RATE_HZ
from gwanje.control.acoustic.live.settings import FIGURES, VERDICTS, Figures
from gwanje.control.acoustic.model import ModelError
from gwanje.control.acoustic.own_model import Judge, OwnModel
from gwanje.control.acoustic.settings import NODE_QUANTITIES, AcousticSettings, read_settings, tag_names
from gwanje.core.audio_ring import RING_NAME, AudioRingError, RingReader
from gwanje.core.bus.messages import Event, Scalar
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S
from gwanje.core.site.nodes import Node
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import UnknownTagError

if TYPE_CHECKING:
    from gwanje.control.acoustic.live.happenings import Happenings

HAPPENINGS: Final = "gwanje.control.acoustic.live.happenings"
UNFOLLOWED_MAX: Final = 64
SETTLED_NS: Final = 4 * NS_PER_S
"""From the part's start, or its first event if that comes earlier."""
TICK_NS: Final = BLOCK_SAMPLES * SAMPLE_NS
REPORT_NS: Final = NS_PER_S  # tags are written once a second, and at once when an event begins
BACKLOG_SAMPLES: Final = SAMPLE_RATE_HZ  # of what the ring holds at the start: enough to hear what woke us
DEAF_NS: Final = 2 * NS_PER_S  # without new samples for this long, a node's tags are bad
PAST_BLOCKS: Final = 83  # ten seconds of display columns of every node, for who turns to it; in memory only
SPECTRUM: Final = "spectrum."


@dataclass(slots=True)
class _Ear:
    """What the part knows of one node.

    Attributes:
        position: in the ring, of the next sample to read; -1 before the first reading.
        fresh_mono_ns: when samples last came.
        floor_db: noise floor.
        shown_class: value of the tag ``event_class``.
        confidence: of that event.
        shown_until_ns: when the tag goes back to none.
    """

    position: int = -1
    fresh_mono_ns: int = 0
    floor_db: float = float("nan")
    shown_class: int = 0
    confidence: float = 0.0
    shown_until_ns: int = 0


def load_ears(settings: AcousticSettings) -> Judge:
    """What judges sounds at a site: the shipped network and heads, or the model that the site names.

    Raises:
        ModelError: a model file is absent or altered.
    """
    shift = tuple(
        more if on else float("inf") for more, on in zip(settings.threshold_shift, settings.enabled, strict=True)
    )
    if settings.model is not None:
        return OwnModel(settings.model, shift)
    return Ears.load(shift)


class Listener:
    """The part's work between two ticks of its clock."""

    def __init__(self, ctx: PartContext) -> None:
        settings, wrong = read_settings(ctx.site.acoustic)
        if wrong:
            path, reason = wrong[0]
            raise PartError(f"acoustic.toml: {'.'.join(map(str, path))}: {reason}")
        self._ctx = ctx
        self._settings = settings
        self._nodes = ctx.site.nodes
        try:
            self._ids = ctx.tags.indices(tag_names(tuple(node.prefix for node in self._nodes)))
        except UnknownTagError as error:
            raise PartError(f"tags/acoustic.toml: {error}, which nodes.toml needs") from None
        self._order = np.argsort(self._ids)
        self._writer = ctx.store.writer(ctx.name)
        self._publisher = ctx.bus.publisher()
        self._own = OwnSound(ctx, self._nodes, self._writer, self._publisher)
        self._ring: RingReader | None = None
        self._ears = [_Ear() for _ in self._nodes]
        self._positions = np.full(len(self._nodes), -1, np.int64)
        self._watched = [False] * len(self._nodes)
        self._past = np.zeros((len(self._nodes), PAST_BLOCKS, BLOCK_FRAMES // COLUMN_FRAMES, N_MELS), np.uint8)
        self._past_ns = np.zeros((len(self._nodes), PAST_BLOCKS), np.int64)
        self._past_at = [0] * len(self._nodes)
        self._latency_ms = 0.0
        self._n_events = 0
        self._report_due_ns = 0
        self._happenings: Happenings | None = None
        self._happenings_due_ns = ctx.clock.mono_ns() + SETTLED_NS
        self._loading: threading.Thread | None = None
        self._unfollowed: list[Heard] = []
        self._used: tuple[int, float, int] = (ctx.clock.mono_ns(), _cpu_s(), 0)
        self._load_pct = self._patches_per_s = 0.0
        ears = self._ears_or_none()
        self.hearing = ears is not None
        self._identity: dict[str, Scalar] = {} if ears is None else dict(ears.identity)
        medians = (1,) * len(CLASSES) if ears is None else ears.median_patches
        self.chain = Chain(
            len(self._nodes), ears, settings.detector(medians), settings.quiet_above_floor_db, settings.budget,
            glance=None if ears is None else ears.glance,
        )  # fmt: skip

    def _ears_or_none(self) -> Judge | None:
        """What judges sounds, or None with an event that says why there is nothing."""
        try:
            return load_ears(self._settings)
        except ModelError as error:
            self._ctx.log.warning("no sound events: %s", error)
            clock = self._ctx.clock
            self._publisher.event(Event(
                kind="system", source="acoustic", class_name="acoustic_model_off",
                utc_ns=clock.utc_ns(), mono_ns=clock.mono_ns(),
                text_ko=f"소리 분류 모델을 쓸 수 없어 소리 사건을 감지하지 않습니다: {error}",
                text_en=f"No sound events: the classifier cannot be used: {error}",
            ))  # fmt: skip
            return None

    def tick(self) -> None:
        """Read what came, work it off, tell of it."""
        now_ns = self._ctx.clock.mono_ns()
        self._own.step(now_ns, self._ring)
        self._read(now_ns)
        self._look_who_watches()
        blocks, heard = self.chain.advance()
        heard = [one for one in heard if not self._own.doubts(one.node_index, CLASSES[one.detection.class_index].name)]
        for block in blocks:
            self._ears[block.node_index].floor_db = block.floor_db
            self._keep_spectrum(block)
        self._follow(blocks, heard, now_ns)
        for index, ear in enumerate(self._ears):
            if self.chain.sounding(index) + 1 == ear.shown_class and ear.shown_class:
                ear.shown_until_ns = now_ns + int(self._settings.class_shown_s * NS_PER_S)
            elif ear.shown_class and now_ns >= ear.shown_until_ns:
                ear.shown_class, ear.confidence = 0, 0.0
        if heard or now_ns >= self._report_due_ns:
            self._report(now_ns)

    def _follow(self, blocks: list[Block], heard: list[Heard], now_ns: int) -> None:
        """Tell of what was heard, and hand it to what makes incidents of it.

        That is loaded in a thread of its own: on a busy machine its libraries take longer than a part may be silent.
        What is heard meanwhile waits; the ring still has its sound.
        """
        if self._happenings is None and self._loading is None and (heard or now_ns >= self._happenings_due_ns):
            self._loading = threading.Thread(target=importlib.import_module, args=(HAPPENINGS,), daemon=True)
            self._loading.start()
        if self._happenings is None and self._loading is not None and not self._loading.is_alive():
            loaded = importlib.import_module(HAPPENINGS)  # raises here what went wrong there
            self._happenings = loaded.Happenings(
                self._ctx, self._settings.live, self._publisher, self._newest_columns
            )  # fmt: skip
        happenings = self._happenings
        if happenings is None or self._ring is None:
            for one in heard:
                self._tell(one)
            self._unfollowed = [*self._unfollowed, *heard][-UNFOLLOWED_MAX:]
            return
        happenings.blocks(blocks)
        counted = [one for one in heard if happenings.worth(one)]
        for one in counted:
            self._tell(one)
        counted, self._unfollowed = [*self._unfollowed, *counted], []
        if counted:
            happenings.heard(counted, self._ring, [now_ns - ear.fresh_mono_ns <= DEAF_NS for ear in self._ears])
        happenings.tick(self._ring, self._positions)

    def close(self) -> None:
        """End what runs beside."""
        if self._happenings is not None:
            self._happenings.close()

    def _read(self, now_ns: int) -> None:
        """Samples of every node since the last tick, from whatever ring the driver has now."""
        if self._ring is None:
            try:
                self._ring = RingReader.attach(self._ctx.run_dir / RING_NAME)
            except AudioRingError:
                return  # the driver is not there yet: the tags say so
            self._forget()
        elif self._ring.wiped:
            if not self._ring.refresh():
                return
            self._forget()
        if self._ring.names != tuple(node.name for node in self._nodes):
            raise PartError("the sound ring holds other nodes than nodes.toml: restart the city")
        positions = self._ring.positions()
        for index in np.flatnonzero(positions != self._positions).tolist():
            ear = self._ears[index]
            if ear.position < 0 or ear.position > positions[index]:
                ear.position = max(0, int(positions[index]) - BACKLOG_SAMPLES)
                self.chain.restart(index)
            began = ear.position
            samples, ear.position, lost = self._ring.read_from(index, began)
            self._positions[index] = ear.position
            if len(samples) == 0:
                continue
            ear.fresh_mono_ns = now_ns
            if self._own.muted(index):  # its own loudspeaker sounds: nothing is judged
                self.chain.restart(index)
                continue
            start = ear.position - len(samples)
            if start != began:
                self.chain.restart(index)  # overwritten before it was read: what follows does not join on
            gaps = self._ring.gaps(index, start, ear.position) if lost else []
            newest_ns = self._ring.time_of(index, ear.position - 1)
            self.chain.push(index, samples, newest_ns, [(a - start, b - start) for a, b in gaps])

    def _forget(self) -> None:
        """Positions of an earlier ring mean nothing in this one."""
        self._positions[:] = -1
        for ear in self._ears:
            ear.position = -1

    def _look_who_watches(self) -> None:
        """Which spectra somebody looks at; to who has just begun to, the last ten seconds."""
        anew = self._publisher.wished_anew()
        if anew or any(self._watched):
            for index, node in enumerate(self._nodes):
                self._watched[index] = self._publisher.wished(SPECTRUM + node.name)
        for index, node in enumerate(self._nodes):
            if any(f"{SPECTRUM}{node.name}\0".startswith(wish) for wish in anew):
                self._publish_past(index)

    def _keep_spectrum(self, block: Block) -> None:
        """Keep a block's columns for who turns to the node, and publish them to who looks at it."""
        index = block.node_index
        at = self._past_at[index]
        self._past[index, at], self._past_ns[index, at] = block.columns, block.end_mono_ns
        self._past_at[index] = (at + 1) % PAST_BLOCKS
        if self._watched[index]:
            self._publish_spectrum(index, block.end_mono_ns, block.columns)

    def _publish_past(self, index: int) -> None:
        """What is kept of a node's columns, to who turns to it."""
        columns = self._newest_columns(index)
        if len(columns):
            newest = int(self._past_ns[index, (self._past_at[index] - 1) % PAST_BLOCKS])
            self._publish_spectrum(index, newest, columns)

    def _newest_columns(self, index: int) -> NDArray[np.uint8]:
        """(n, 64) of a node's last ten seconds, as far back as they are without a hole."""
        order = (self._past_at[index] + np.arange(PAST_BLOCKS)) % PAST_BLOCKS
        times = self._past_ns[index, order]
        holes = np.flatnonzero(np.abs(np.diff(times) - TICK_NS) > TICK_NS // 2)
        order = order[int(holes[-1]) + 1 if len(holes) else 0 :] if times[-1] else order[:0]
        columns: NDArray[np.uint8] = self._past[index, order].reshape(-1, N_MELS)
        return columns

    def _publish_spectrum(self, index: int, end_mono_ns: int, columns: NDArray[np.uint8]) -> None:
        name = self._nodes[index].name
        header: dict[str, Scalar] = {
            "node": name,
            "mono_ns": end_mono_ns,
            "hop_ms": COLUMN_FRAMES * HOP_S * 1000.0,
            "floor_db": -60.0,
            "span_db": 100.0,
        }
        self._publisher.blob(SPECTRUM + name, header, columns)

    def _tell(self, heard: Heard) -> None:
        """Publish an event and show its class."""
        clock, node = self._ctx.clock, self._nodes[heard.node_index]
        found, sound = heard.detection, CLASSES[heard.detection.class_index]
        now_ns = clock.mono_ns()
        latency_s = (now_ns - heard.onset_mono_ns) / NS_PER_S
        self._latency_ms = latency_s * 1000.0
        self._n_events += 1
        ear = self._ears[heard.node_index]
        ear.shown_class, ear.confidence = found.class_index + 1, found.confidence
        ear.shown_until_ns = now_ns + int(self._settings.class_shown_s * NS_PER_S)
        self._publisher.event(Event(
            kind="acoustic", source=node.name, class_name=sound.name,
            utc_ns=clock.utc_ns() - (now_ns - heard.onset_mono_ns), mono_ns=heard.onset_mono_ns,
            text_ko=f"{node.label_ko}: {sound.text_ko} 감지", text_en=f"{node.label_en}: {sound.text_en} heard",
            confidence=found.confidence, latency_s=round(latency_s, 3),
            data={
                "level_db": round(heard.level_db, 1), "snr_db": round(heard.snr_db, 1),
                "margin": round(found.margin, 2), "area": node.area, **self._identity,
                **self._own.mark(heard.node_index),
            },
        ))  # fmt: skip

    def _report(self, now_ns: int) -> None:
        """Write and publish all tags."""
        ctx = self._ctx
        if now_ns >= self._report_due_ns:
            self._report_due_ns = now_ns + REPORT_NS
            since_ns, cpu_s, n_patches = self._used
            self._used = now_ns, _cpu_s(), self.chain.n_patches
            seconds = max(1e-9, (now_ns - since_ns) / NS_PER_S)
            self._load_pct = 100.0 * (self._used[1] - cpu_s) / seconds
            self._patches_per_s = (self.chain.n_patches - n_patches) / seconds
        values: list[float] = []
        quality: list[int] = []
        happenings = self._happenings
        arrays = [self._unlooked(node) for node in self._nodes] if happenings is None else happenings.array_states()
        for index, (node, ear, array) in enumerate(zip(self._nodes, self._ears, arrays, strict=True)):
            base = (Quality.SIMULATED if node.simulated else Quality.GOOD) | self._own.quality(index)
            deaf = Quality.BAD | Quality.COMM if now_ns - ear.fresh_mono_ns > DEAF_NS else Quality.GOOD
            off = Quality.GOOD if self.hearing else Quality.BAD | Quality.CONFIG
            values += [float(ear.shown_class), ear.confidence, ear.floor_db, array]
            quality += [base | deaf | off, base | deaf | off, base | deaf, base]
        chain = self.chain
        values += [float(self.hearing), self._latency_ms, self._load_pct, self._n_events, chain.n_patches]
        values += [chain.gate.n_open, self._patches_per_s, chain.n_skipped]
        figures = Figures() if happenings is None else happenings.figures
        values += [*astuple(figures), *(happenings.verdict_values.values() if happenings else (0.0,) * len(VERDICTS))]
        unknown = Quality.BAD | Quality.NOT_IMPLEMENTED
        n_rest = len(FIGURES) + len(VERDICTS)
        quality += [Quality.GOOD] * (len(self._ids) - len(NODE_QUANTITIES) * len(self._nodes) - n_rest)
        quality += [unknown if value != value else Quality.GOOD for value in values[-n_rest:]]
        ids, value = self._ids[self._order], np.array(values)[self._order]
        bits = np.array(quality, np.uint16)[self._order]
        times = np.full(len(ids), ctx.clock.utc_ns(), np.int64)
        self._writer.write(ids, value, bits, times, now_ns)
        self._publisher.scan(ids, value, bits, times)


    @staticmethod
    def _unlooked(node: Node) -> float:
        """Value of ``array_health`` before anything was looked at: one microphone, or not known yet."""
        return 5.0 if node.mic_xy_m else 1.0


def _cpu_s() -> float:
    """CPU seconds this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(ctx: PartContext) -> None:
    """Listen until asked to stop.

    Raises:
        PartError: tags that nodes need are missing, or ``acoustic.toml`` is wrong.
    """
    ctx.heartbeat()
    if not ctx.site.nodes:
        while not ctx.stopping():
            ctx.heartbeat()
            ctx.clock.wait_until_mono_ns(ctx.clock.mono_ns() + NS_PER_S // 2, ctx.stop_fd)
        return
    listener = Listener(ctx)
    due_ns = ctx.clock.mono_ns()
    try:
        while not ctx.stopping():
            ctx.heartbeat()
            listener.tick()
            due_ns = max(due_ns + TICK_NS, ctx.clock.mono_ns())
            ctx.clock.wait_until_mono_ns(due_ns, ctx.stop_fd)
    finally:
        listener.close()
