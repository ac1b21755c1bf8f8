"""Mixes through the very chain that runs in the city, and what the network says of each patch worth its millisecond."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, SAMPLE_NS, Chain
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Network
from gwanje.control.acoustic.evaluation.mixes import Mix
from gwanje.control.acoustic.evaluation.play import QUIET_ABOVE_FLOOR_DB, SIDE_BY_SIDE, START_NS
from gwanje.control.acoustic.evaluation.score import audible_s
from gwanje.control.acoustic.features import HOP_SAMPLES, PATCH_FRAMES, SAMPLE_RATE_HZ, levelled
from gwanje.control.acoustic.head import IS_IMPULSE, N_LOOK, N_ONSET, evidence_columns, features_of, onset_features
from gwanje.control.acoustic.training.clips import ClipError
from gwanje.control.acoustic.training.scenes import ACTIVE_DB, frame_energy

NEGATIVE: Final = len(CLASS_NAMES)
UNSURE: Final = -1
ENOUGH_FRAMES: Final = 30
BLOW_FRAMES: Final = 12
BLOW_SHARE: Final = 0.3
JUDGED_S: Final = 2.1  # after the onset: what is judged later counts no more
BEFORE_S: Final = 0.6  # the patches before it are in the first medians
BATCH: Final = 512

Floats = NDArray[np.float32]


@dataclass(slots=True)
class Rows:
    """Judgements as columns, n long.

    Attributes:
        features: (n, n_look) float16: onset features (0 for a patch), evidence, embedding.
        look: a quick look, not a patch.
        label: class, ``NEGATIVE``, or ``UNSURE``.
        mix: index of the mix.
        time_s: end of the patch in its mix.
        onset_s: where in its mix the chain would say that an event in it began.
    """

    features: NDArray[np.float16]
    look: NDArray[np.bool_]
    label: NDArray[np.int64]
    mix: NDArray[np.int64]
    time_s: NDArray[np.float64]
    onset_s: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write a cache."""
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".part")
        with waiting.open("wb") as file:
            np.savez(file, **{one.name: getattr(self, one.name) for one in fields(self)})
        waiting.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a cache."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{one.name: file[one.name] for one in fields(cls)})


def activity(mix: Mix) -> NDArray[np.float64]:
    """Energy of the event in every 10 ms of a mix, 0 where it is not heard."""
    active = np.zeros(len(mix.samples) // HOP_SAMPLES + 1)
    if mix.clip is not None:
        energy = frame_energy(mix.clip.samples)
        energy[energy < energy.max(initial=0.0) * 10 ** (ACTIVE_DB / 10)] = 0.0
        first = int(mix.onset_s * 100.0)
        room = active[first : first + len(energy)]
        room[:] = energy[: len(room)]
    return active


def patch_label(mix: Mix, active: NDArray[np.float64], end_s: float) -> int:
    """Label of a patch: the class when a good part of the event is inside it."""
    if mix.clip is None:
        return NEGATIVE
    end = round(end_s * 100.0)
    inside = active[max(0, end - PATCH_FRAMES) : end]
    n_inside, n_all = int((inside > 0).sum()), int((active > 0).sum())
    if n_inside == 0:
        return NEGATIVE if end <= int(np.argmax(active > 0)) else UNSURE
    enough = n_inside >= min(ENOUGH_FRAMES, 0.6 * n_all) and inside.sum() >= 0.3 * active.sum()
    return mix.clip.label if enough else UNSURE


def look_label(mix: Mix, active: NDArray[np.float64], onset_s: float) -> int:
    """Label of a quick look: the class when its onset is a strong one of an impulse's own."""
    if mix.clip is None:
        return NEGATIVE
    frame = int(onset_s * 100.0)
    first = int(np.argmax(active > 0))
    if frame < first - 3:
        return NEGATIVE
    if not IS_IMPULSE[mix.clip.label]:
        return NEGATIVE if active[max(0, frame) : frame + BLOW_FRAMES].any() else UNSURE
    blows = np.convolve(active, np.ones(BLOW_FRAMES), "full")[BLOW_FRAMES - 1 :]
    return mix.clip.label if blows[max(0, frame)] >= BLOW_SHARE * blows.max() else UNSURE


class _Collector:
    """Stands in for the ears of a chain: keeps patches, hears nothing."""

    def __init__(self) -> None:
        self.patches: list[Floats] = []
        self.onsets: list[Floats | None] = []
        self.ages_ms: list[int] = []
        self.where: list[tuple[int, float, float]] = []
        self.onset_ns: Callable[[int], int] | None = None

    def __call__(self, patches: Floats) -> Floats:
        self.patches += list(patches)
        self.onsets += [None] * len(patches)
        self.ages_ms += [0] * len(patches)
        return np.full((len(patches), len(CLASS_NAMES)), -np.inf, np.float32)

    def glance(self, patches: Floats, shapes: Floats, ages_ms: NDArray[np.int64], floors: Floats) -> Floats:
        """Keep the looks."""
        self.patches += list(patches)
        self.onsets += list(onset_features(patches, shapes, ages_ms, floors))
        self.ages_ms += ages_ms.tolist()
        return np.full((len(patches), len(CLASS_NAMES)), -np.inf, np.float32)

    def witness(self, node: int, mono_ns: int, _: Floats) -> None:
        """Note which node each of them was of: the chain tells in the order in which it asked."""
        age_ms = self.ages_ms[len(self.where)]
        assert self.onset_ns is not None, "the chain is told whom to ask"
        onset_ns = mono_ns - age_ms * 1_000_000 if age_ms else self.onset_ns(node)
        self.where.append((node, (mono_ns - START_NS) * 1e-9, (onset_ns - START_NS) * 1e-9))


def _judged(group: list[Mix]) -> _Collector:
    """Everything that the chain would judge of some mixes side by side."""
    collector = _Collector()
    chain = Chain(
        len(group), collector, DetectorParams(), QUIET_ABOVE_FLOOR_DB, None, collector.witness, collector.glance
    )
    collector.onset_ns = lambda node: chain.onset(node)[0]
    for end in range(BLOCK_SAMPLES, max(len(mix.samples) for mix in group) + 1, BLOCK_SAMPLES):
        for node, mix in enumerate(group):
            if end <= len(mix.samples):
                chain.push(node, mix.samples[end - BLOCK_SAMPLES : end], START_NS + end * SAMPLE_NS, [])
        chain.advance()
    return collector


def _wanted(mix: Mix, label: int, first_s: float, end_s: float, to_learn: bool) -> bool:
    """Whether a judgement is worth its millisecond."""
    if mix.clip is None:
        return True
    if to_learn:
        return label not in (UNSURE, NEGATIVE) or (label == NEGATIVE and end_s > first_s)
    return first_s - BEFORE_S < end_s <= first_s + JUDGED_S


def collect(
    mixes: Sequence[Mix], network: Network, to_learn: bool, say: Callable[[str], None] | None = None
) -> Rows:
    """Run mixes and keep what is wanted: of an event's mix the patches with it in them, of a street all.

    Args:
        mixes: what is played.
        network: patches to activations.
        to_learn: keep only what has a label of its own; else what is judged from shortly before the onset to two
            seconds after it.
        say: told of the progress.
    """
    columns = evidence_columns()
    order = sorted(range(len(mixes)), key=lambda i: len(mixes[i].samples))
    pieces: list[NDArray[np.float16]] = []
    rows: list[tuple[bool, int, int, float, float]] = []
    for start in range(0, len(order), SIDE_BY_SIDE):
        numbers = order[start : start + SIDE_BY_SIDE]
        group = [mixes[i] for i in numbers]
        active = [activity(mix) for mix in group]
        first_s = [audible_s(mix) for mix in group]
        found = _judged(group)
        kept: list[int] = []
        for j, (node, end_s, onset_s) in enumerate(found.where):
            look = found.onsets[j] is not None
            mix = group[node]
            told = look_label(mix, active[node], onset_s) if look else patch_label(mix, active[node], end_s)
            if _wanted(mix, told, first_s[node], end_s, to_learn):
                kept.append(j)
                rows.append((look, told, numbers[node], end_s, onset_s))
        for at in range(0, len(kept), BATCH):
            some = kept[at : at + BATCH]
            table = np.zeros((len(some), N_LOOK), np.float32)
            table[:, N_ONSET:] = features_of(network(levelled(np.stack([found.patches[j] for j in some]))), columns)
            for row, j in enumerate(some):
                onset = found.onsets[j]
                if onset is not None:
                    table[row, :N_ONSET] = onset
            pieces.append(table.astype(np.float16))
        if say is not None:
            say(f"{start + len(group)} of {len(order)} mixes, {len(rows)} judgements")
    if not rows:
        raise ClipError("the chain judged nothing of these recordings")
    return Rows(np.concatenate(pieces), *(np.array(column) for column in zip(*rows, strict=True)))


def cached(
    mixes: Sequence[Mix], network: Network, to_learn: bool, cache: Path, identity: str,
    say: Callable[[str], None] | None = None,
) -> Rows:  # fmt: skip
    """The rows of mixes, from the cache when it holds them.

    Args:
        mixes: see :func:`collect`, as the rest.
        network: see there.
        to_learn: see there.
        cache: folder.
        identity: of everything that the rows follow from but the mixes' own samples.
        say: see there.
    """
    total = hashlib.sha256(f"{identity} {to_learn} {SAMPLE_RATE_HZ}".encode())
    for mix in mixes:
        total.update(mix.samples[::7].tobytes())
    path = cache / f"rows-{total.hexdigest()[:16]}.npz"
    if path.is_file():
        return Rows.load(path)
    rows = collect(mixes, network, to_learn, say)
    rows.save(path)
    return rows
