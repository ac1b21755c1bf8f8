"""``gwanje acoustic train``: the heads from a folder of recordings, and what they can and cannot hear.

Needs ``soundfile`` beside what the program needs. Every figure in the report comes from heads that never heard the
source recording they are judged on, nor the background under it; the heads that are written have heard all of them.
The same recordings, seed and libraries give the same heads.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Network
from gwanje.control.acoustic.evaluation.manifest import load_manifest, negatives_of
from gwanje.control.acoustic.evaluation.mixes import EVERYDAY_PER_H, Mix, crowded_streets, event_mixes
from gwanje.control.acoustic.evaluation.play import Played
from gwanje.control.acoustic.evaluation.score import delays_s, hours_of, quantiles, scores
from gwanje.control.acoustic.head import HEAD_PATH, IS_IMPULSE, N_EVIDENCE, N_ONSET, Head, evidence_columns
from gwanje.control.acoustic.model import MODEL_SHA256, ModelError, Yamnet
from gwanje.control.acoustic.training.clips import N_FOLDS, Clip, ClipError
from gwanje.control.acoustic.training.collect import Rows, cached
from gwanje.control.acoustic.training.esc10 import esc10
from gwanje.control.acoustic.training.judge import limits, replay, temperatures
from gwanje.control.acoustic.training.lessons import event_lessons, is_made, source_at, street_lessons
from gwanje.control.acoustic.training.logistic import FitParams, fit
from gwanje.control.acoustic.training.report import found_share, markdown

VERSION: Final = 3  # of mixes, labels and features: raise it when one of them changes, so that no stale cache is used
MEDIAN_PATCHES: Final = 2
REPEATS: Final = 2
JUDGED_HOURS: Final = 1.6
ALARMS_PER_NODE_DAY: Final = 1.0
STEADY: Final = FitParams(ridge=4e-3, embedding_ridge=20.0, n_directions=60, hard_gain=4.0)
IMPULSE: Final = FitParams(ridge=6e-3, n_directions=30, hard_gain=4.0)


class TrainError(Exception):
    """The folder cannot be trained on; a line for every reason."""


def say(text: str) -> None:
    """Progress, for the person at the terminal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Lessons:
    """Everything that heads learn from, as columns over all rows.

    Attributes:
        rows: judgements of the mixes to learn from, events before streets.
        fold: of each row.
        source: recording of each row.
        made: whether each row's event was made.
    """

    rows: Rows
    fold: NDArray[np.int64]
    source: NDArray[np.str_]
    made: NDArray[np.bool_]


def training_hash(clips: list[Clip], seed: int) -> str:
    """Identity of a training: recordings, network, version of the program, seed."""
    total = hashlib.sha256(f"{VERSION} {seed} {MODEL_SHA256} {CLASS_NAMES} {STEADY} {IMPULSE}".encode())
    for clip in clips:
        total.update(f"{clip.name} {clip.source} {clip.fold}".encode())
        total.update(clip.samples.tobytes())
    return total.hexdigest()


def joined(parts: list[tuple[list[Mix], Rows]]) -> Lessons:
    """Rows of several groups of mixes as one."""
    mixes = [mix for group, _ in parts for mix in group]
    offsets = np.cumsum([0, *(len(group) for group, _ in parts)])
    number = np.concatenate([rows.mix + offset for (_, rows), offset in zip(parts, offsets, strict=False)])
    rows = Rows(
        np.concatenate([rows.features for _, rows in parts]), np.concatenate([rows.look for _, rows in parts]),
        np.concatenate([rows.label for _, rows in parts]), number,
        np.concatenate([rows.time_s for _, rows in parts]), np.concatenate([rows.onset_s for _, rows in parts]),
    )  # fmt: skip
    pairs = list(zip(number.tolist(), rows.time_s.tolist(), strict=True))
    return Lessons(
        rows, np.array([mixes[i].fold for i in number]), np.array([source_at(mixes[i], t) for i, t in pairs]),
        np.array([is_made(mixes[i]) for i in number]),
    )  # fmt: skip


def fit_head(lessons: Lessons, without_fold: int | None, identity: str) -> Head:
    """Both heads from every fold but one, or from all; without thresholds."""
    rows = lessons.rows
    heard = np.ones(len(rows.label), np.bool_) if without_fold is None else lessons.fold != without_fold
    impulse = np.append(IS_IMPULSE, True)[np.maximum(rows.label, 0)]
    steady_of = np.flatnonzero(heard & ~rows.look & (rows.label >= 0))
    look_of = np.flatnonzero(heard & rows.look & (rows.label >= 0) & impulse)

    def fitted(of: NDArray[np.intp], first: int, n_plain: int, params: FitParams) -> tuple[NDArray[np.float32], ...]:
        features = rows.features[of, first:].astype(np.float32)
        return fit(features, rows.label[of], lessons.source[of], lessons.made[of], n_plain, params)

    weights, bias = fitted(steady_of, N_ONSET, N_EVIDENCE, STEADY)
    look_weights, look_bias = fitted(look_of, 0, N_ONSET + N_EVIDENCE, IMPULSE)
    n = len(CLASS_NAMES)
    return Head(
        weights, bias, look_weights, look_bias, np.zeros((2, n), np.float32), np.ones((2, n), np.float32),
        (MEDIAN_PATCHES,) * n, identity, evidence_columns(),
    )  # fmt: skip


def per_crowded_hour(streets: list[Mix], per_node_day: float) -> float:
    """False alarms an hour of the crowded streets and class that make so many a day and node in a mixed street."""
    everyday_per_h = sum(len(mix.marks) for mix in streets) / (sum(mix.seconds for mix in streets) / 3600.0)
    return per_node_day / 24.0 * everyday_per_h / EVERYDAY_PER_H / len(CLASS_NAMES)


@dataclass(frozen=True, slots=True)
class Judged:
    """The mixes of the cross-validation and what was collected of them."""

    events: list[Mix]
    event_rows: Rows
    streets: list[Mix]
    street_rows: Rows


def calibrated(judged: Judged, heads: dict[int, Head], per_h: float) -> dict[int, Head]:
    """The heads of the folds with the temperatures and thresholds that all of them share."""
    params = DetectorParams((MEDIAN_PATCHES,) * len(CLASS_NAMES))
    events = replay(judged.events, judged.event_rows, heads, params)
    streets = replay(judged.streets, judged.street_rows, heads, params)
    cold = limits(streets, judged.street_rows, hours_of(streets), per_h)
    warm = temperatures(events, streets, judged.event_rows, judged.street_rows)
    return {fold: replace(head, thresholds=cold, temperatures=warm) for fold, head in heads.items()}


def rows_of(
    clips: list[Clip], network: Network, cache: Path, seed: int, identity: str
) -> tuple[Lessons, Judged]:
    """Everything through the chain and the network once.

    The mixes that are judged are learnt from as well, by the heads that do not judge their fold.
    """
    lessons = event_lessons(clips, seed)
    say(f"{len(lessons)} mixes with an event to learn from")
    event_rows = cached(lessons, network, True, cache, identity)
    lesson_streets = street_lessons(clips, seed)
    say(f"{sum(mix.seconds for mix in lesson_streets) / 3600.0:.2f} h of altered everyday sounds to learn from")
    street_rows = cached(lesson_streets, network, True, cache, identity)
    events, streets = event_mixes(clips, REPEATS, seed + 2), crowded_streets(clips, JUDGED_HOURS, seed + 2)
    say(f"{len(events)} mixes with an event and {sum(m.seconds for m in streets) / 3600.0:.2f} h without to judge")
    judged = Judged(
        events, cached(events, network, False, cache, identity),
        streets, cached(streets, network, False, cache, identity),
    )  # fmt: skip
    learnt = joined([
        (lessons, event_rows), (lesson_streets, street_rows),
        (judged.events, judged.event_rows), (judged.streets, judged.street_rows),
    ])  # fmt: skip
    return learnt, judged


def report_of(
    clips: list[Clip], lessons: Lessons, events: list[Played], streets: list[Played], head: Head, seed: int
) -> dict[str, Any]:
    """Everything the report says."""
    found = scores(events, streets)
    for c, name in enumerate(CLASS_NAMES):
        if name in found["classes"]:
            mine = [one for one in events if one.mix.clip is not None and one.mix.clip.label == c]
            found["classes"][name]["sources"] = len({one.mix.clip.source for one in mine if one.mix.clip is not None})
            found["classes"][name]["found_as_shipped"] = found_share(mine)
            found["classes"][name]["false_alarms"] = sum(
                heard.detection.class_index == c for one in streets for heard in one.heard)
            thresholds = [float(one) for one in head.thresholds[:, c]]
            found["classes"][name]["thresholds"] = [None if np.isinf(one) else round(one, 3) for one in thresholds]
    impulses = [one for one in events if one.mix.clip is not None and IS_IMPULSE[one.mix.clip.label]]
    found["impulse_latency_s"] = quantiles(delays_s(impulses))
    found["everyday_per_hour"] = round(sum(len(one.mix.marks) for one in streets) / hours_of(streets), 1)
    n_negatives = len(negatives_of(clips))
    learnt = lessons.rows.label >= 0
    return {
        "version": VERSION, "seed": seed, "training": head.trained_on, "head_sha256": head.sha256,
        "network_sha256": MODEL_SHA256,
        "clips": {"events": len(clips) - n_negatives, "negatives": n_negatives},
        "patches": {"trained_on": int(learnt.sum()), "made": int((learnt & lessons.made).sum())},
        **found,
    }  # fmt: skip


def run(folder: Path, out: Path | None, folds: Path | None, cache: Path, seed: int) -> int:
    """The command; 0 when the heads were written. Nothing is written before everything is judged.

    Raises:
        TrainError: the folder or a model file cannot be used.
    """
    try:
        network, clips = Yamnet(), load_manifest(folder)
        present = {clip.class_name for clip in clips}
        if not negatives_of(clips):
            raise ClipError(f"{folder}: no neg_ recordings to learn silence from")
        if not present & set(CLASS_NAMES):
            raise ClipError(f"{folder}: no recordings of events")
        if len({clip.fold for clip in negatives_of(clips)}) < N_FOLDS:
            raise ClipError(f"{folder}: everyday sounds of fewer than {N_FOLDS} sources cannot be cross-validated")
        identity = training_hash(clips, seed)
        say(f"{len(clips)} recordings")
        lessons, judged = rows_of(clips, network, cache, seed, identity)
    except (ModelError, ClipError) as error:
        raise TrainError(str(error)) from None
    bare = {}
    for fold in range(N_FOLDS):
        bare[fold] = fit_head(lessons, fold, f"{identity}/without-fold-{fold}")
        say(f"fold {fold + 1} of {N_FOLDS} fitted")
    heads = calibrated(judged, bare, per_crowded_hour(judged.streets, ALARMS_PER_NODE_DAY))
    params = DetectorParams((MEDIAN_PATCHES,) * len(CLASS_NAMES))
    events = replay(judged.events, judged.event_rows, heads, params)
    streets = replay(judged.streets, judged.street_rows, heads, params)
    whole = fit_head(lessons, None, identity)
    head = replace(whole, thresholds=heads[0].thresholds, temperatures=heads[0].temperatures)
    report = report_of(clips, lessons, events, streets, head, seed)
    report["esc10"] = esc10(clips, network)
    target = HEAD_PATH if out is None else out / "head.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    head.save(target)
    if folds is not None:
        folds.mkdir(parents=True, exist_ok=True)
        for fold, one in heads.items():
            one.save(folds / f"fold_{fold}.npz")
        dealt = {clip.name: clip.fold for clip in clips}
        (folds / "folds.json").write_text(json.dumps(dealt, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    target.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    target.with_name("REPORT.md").write_text(markdown(report), encoding="utf-8")
    say(f"wrote {target}")
    return 0
