"""Scenes through the very front end and network that run in the city: patches with labels and features, cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import HOP_S, PATCH_FRAMES, WINDOW_SAMPLES, front_end, levelled
from gwanje.control.acoustic.head import evidence_columns, features_of
from gwanje.control.acoustic.model import MODEL_SHA256, Yamnet
from gwanje.control.acoustic.training.clips import Clip, Wave
from gwanje.control.acoustic.training.scenes import LEAD_S, Mixer, Scene
from gwanje.control.acoustic.training.synthesis import SYNTHESIS

VERSION: Final = 2  # of scenes and labels: raise it when either changes, so that no stale cache is used
PATCH_HOP: Final = 24
TRAIN_SNR_DB: Final = (-2.0, 3.0, 6.0, 10.0, 15.0, 20.0, 28.0)
TEST_SNR_DB: Final = (20.0, 10.0, 5.0, 0.0)
SCENES_PER_CLASS: Final = 200
PATCHES_BEFORE_KEPT: Final = 0.3  # share of the training patches before an event: they only show backgrounds
NEGATIVE: Final = len(CLASS_NAMES)


@dataclass(slots=True)
class Patches:
    """Patches as columns, n long.

    Attributes:
        features: (n, n_features), see ``head.features_of``.
        label: class, ``NEGATIVE``, or -1 where too little of the event is inside to say.
        class_index: of the scene's clip.
        scene: number of the scene.
        fold: of the clip.
        snr_db: of the scene.
        age_s: end of the patch after the onset of the event.
        plain: fit to be counted.
        synthetic: from a made sound.
        source: identity of the recording.
        clip: name of the clip.
    """

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    class_index: NDArray[np.int64]
    scene: NDArray[np.int64]
    fold: NDArray[np.int64]
    snr_db: NDArray[np.float64]
    age_s: NDArray[np.float64]
    plain: NDArray[np.bool_]
    synthetic: NDArray[np.bool_]
    source: NDArray[np.str_]
    clip: NDArray[np.str_]

    def save(self, path: Path) -> None:
        """Write the cache."""
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        columns["features"] = self.features.astype(np.float16)
        with path.open("wb") as file:
            np.savez(file, **columns)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the cache."""
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        columns["features"] = columns["features"].astype(np.float32)
        return cls(**columns)


def make_scenes(clips: list[Clip], seed: int) -> list[Scene]:
    """All scenes of a training: varied ones to learn from, plain ones to be counted, made ones for rare classes."""
    mixer, rng = Mixer(clips, seed), np.random.default_rng(seed + 1)
    scenes: list[Scene] = []
    for label, name in enumerate(CLASS_NAMES):
        events = [clip for clip in clips if clip.label == label]
        for clip in events:
            n_varied = int(np.clip(round(SCENES_PER_CLASS / len(events)), 6, 40))
            scenes += [mixer.event(clip, float(rng.choice(TRAIN_SNR_DB)), plain=False) for _ in range(n_varied)]
            n_plain = 3 if len(events) < 20 else 1
            scenes += [mixer.event(clip, snr_db, plain=True) for snr_db in TEST_SNR_DB for _ in range(n_plain)]
        make, n_made = SYNTHESIS.get(name, (None, 0))
        for i in range(n_made if make else 0):
            assert make is not None, "a class without synthesis makes nothing"
            wave: Wave = make(rng)
            made = Clip(f"synthetic/{name}_{i}", name, f"synthetic_{name}_{i}", int(rng.integers(5)), wave)
            scenes.append(mixer.event(made, float(rng.choice(TRAIN_SNR_DB[1:])), plain=False))
    for clip in clips:
        if clip.label == NEGATIVE:
            scenes += [mixer.negative(clip, plain=True), mixer.negative(clip, plain=True)]
            scenes.append(mixer.negative(clip, plain=False))
    return scenes


def label_of(scene: Scene, start: int) -> int:
    """Label of the patch that begins at a frame: the class when a good part of the event is inside it."""
    if scene.clip.label == NEGATIVE:
        return NEGATIVE
    inside = scene.active[start : start + PATCH_FRAMES]
    n_inside, n_all = int((inside > 0).sum()), int((scene.active > 0).sum())
    if n_inside == 0:
        return NEGATIVE
    enough = n_inside >= min(30.0, 0.6 * n_all) and inside.sum() >= 0.3 * scene.active.sum()
    return scene.clip.label if enough else -1


def _wanted(scene: Scene, start: int, label: int, rng: np.random.Generator) -> bool:
    """Whether a patch of a scene is worth its millisecond."""
    if scene.clip.label == NEGATIVE:
        return True
    sounding = np.flatnonzero(scene.active)
    if start + PATCH_FRAMES <= sounding[0]:
        return not scene.plain and rng.random() < PATCHES_BEFORE_KEPT
    if start > sounding[-1] + PATCH_FRAMES // 2:
        return False
    return scene.plain or label >= 0


def embed(scenes: list[Scene], network: Yamnet, seed: int) -> Patches:
    """Run every scene; the phase of the patches is random, as it is in the street."""
    rng, kernel, columns = np.random.default_rng(seed + 2), front_end(1), evidence_columns()
    pieces: list[NDArray[np.float32]] = []
    rows: list[tuple[int, int, int, int, float, float, bool, bool, str, str]] = []
    for number, scene in enumerate(scenes):
        kernel.reset()
        frames = kernel.process(scene.samples[None])[0]
        starts = range(int(rng.integers(PATCH_HOP)), len(frames) - PATCH_FRAMES + 1, PATCH_HOP)
        labels = {start: label_of(scene, start) for start in starts}
        kept = [start for start in starts if _wanted(scene, start, labels[start], rng)]
        if not kept:
            continue
        patches = levelled(np.stack([frames[start : start + PATCH_FRAMES] for start in kept]))
        pieces.append(features_of(network(patches), columns))
        for start in kept:
            age_s = (start + PATCH_FRAMES) * HOP_S + WINDOW_SAMPLES / 16_000 - HOP_S - scene.onset_s
            made = scene.clip.name.startswith("synthetic/")
            rows.append((labels[start], scene.clip.label, number, scene.clip.fold, scene.snr_db, age_s, scene.plain,
                         made, scene.clip.source, scene.clip.name))  # fmt: skip
    table = [np.array(column) for column in zip(*rows, strict=True)]
    return Patches(np.concatenate(pieces), *table)


def training_hash(clips: list[Clip], seed: int) -> str:
    """Identity of what a training works on: recordings, network, program version, seed."""
    total = hashlib.sha256(f"{VERSION} {seed} {MODEL_SHA256} {LEAD_S} {CLASS_NAMES}".encode())
    for clip in clips:
        total.update(f"{clip.name} {clip.source} {clip.fold}".encode())
        total.update(clip.samples.tobytes())
    return total.hexdigest()


def cached_patches(clips: list[Clip], network: Yamnet, seed: int, cache: Path) -> tuple[Patches, str]:
    """The patches of a training, from the cache when it holds them, and the training's hash."""
    identity = training_hash(clips, seed)
    path = cache / f"patches-{identity[:16]}.npz"
    if path.is_file():
        return Patches.load(path), identity
    patches = embed(make_scenes(clips, seed), network, seed)
    patches.save(path)
    return patches, identity
