"""Train the head on a folder of recordings: ``python -m gwanje.control.acoustic.train --clips DIR --out FILE``.

Needs ``soundfile`` beside what the program needs. Every figure in the report comes from heads that never heard the
source recording they are scored on; the head that is written has heard all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.head import Head, evidence_columns
from gwanje.control.acoustic.model import ModelError, Yamnet
from gwanje.control.acoustic.training.clips import N_FOLDS, Clip, ClipError, load_clips
from gwanje.control.acoustic.training.logistic import FitParams, fit
from gwanje.control.acoustic.training.patches import NEGATIVE, Patches, cached_patches, make_scenes
from gwanje.control.acoustic.training.report import markdown
from gwanje.control.acoustic.training.scores import (
    chain_scores,
    median_scores,
    negative_hours,
    play,
    recall_table,
    thresholds,
)

MEDIAN_PATCHES: Final = 2
ALARMS_PER_H: Final = 1.0
SEED: Final = 5


def say(text: str) -> None:
    """Progress, for the person at the terminal."""
    sys.stderr.write(text + "\n")


def fit_without(patches: Patches, fold: int | None, params: FitParams) -> tuple[NDArray[np.float32], ...]:
    """Weights and bias from every fold but one, or from all.

    A made sound has a fold too: the street under it is a recording of that fold, which the head must not have heard.
    """
    used = np.flatnonzero((patches.label >= 0) & (True if fold is None else patches.fold != fold))
    return fit(
        patches.features[used], patches.label[used], patches.source[used], patches.synthetic[used], params
    )


def cross_validate(patches: Patches, identity: str, params: FitParams) -> tuple[list[Head], NDArray[np.float64]]:
    """A head per fold that has not heard it, with the thresholds all of them share, and the held-out medians."""
    columns, none = evidence_columns(), np.zeros(len(CLASS_NAMES), np.float32)
    log_odds = np.zeros((len(patches.label), len(CLASS_NAMES)))
    heads = []
    for fold in range(N_FOLDS):
        weights, bias = fit_without(patches, fold, params)
        medians = (MEDIAN_PATCHES,) * len(CLASS_NAMES)
        heads.append(Head(weights, bias, none, medians, f"{identity}/without-fold-{fold}", columns))
        held_out = patches.fold == fold
        log_odds[held_out] = heads[-1].log_odds(patches.features[held_out])
        say(f"fold {fold + 1} of {N_FOLDS}: scored on {int(held_out.sum())} patches it was not trained on")
    scores = median_scores(log_odds, patches.scene, MEDIAN_PATCHES)
    limits = thresholds(scores, patches, ALARMS_PER_H)
    return [replace(head, thresholds=limits) for head in heads], scores


def report_of(
    clips: list[Clip], patches: Patches, scores: NDArray[np.float64], heads: list[Head], network: Yamnet, identity: str
) -> dict[str, Any]:
    """Everything the report says."""
    limits = heads[0].thresholds
    n_negatives = sum(clip.label == NEGATIVE for clip in clips)
    plain = [scene for scene in make_scenes(clips, SEED) if scene.plain]
    params = DetectorParams(heads[0].median_patches)
    played = [play(scene, heads[scene.clip.fold], network, params) for scene in plain]
    return {
        "training": identity,
        "clips": {"events": len(clips) - n_negatives, "negatives": n_negatives},
        "patches": {"trained_on": int((patches.label >= 0).sum()), "synthetic": int(patches.synthetic.sum())},
        "negative_hours": round(negative_hours(patches), 3),
        "classes": recall_table(scores, patches, limits),
        "chain": chain_scores(played),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line. 0 when a head was written."""
    parser = argparse.ArgumentParser(description="Train the acoustic head.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with one folder of recordings per class")
    parser.add_argument("--out", type=Path, required=True, help="head.npz to write; the report goes beside it")
    parser.add_argument("--cache", type=Path, default=Path("build/acoustic"), help="where patches are kept")
    parser.add_argument("--folds", type=Path, help="folder for the head of each fold, for tests on unheard recordings")
    options = parser.parse_args(arguments)
    try:
        network, clips = Yamnet(), load_clips(options.clips)
    except (ModelError, ClipError) as error:
        say(f"cannot train: {error}")
        return 1
    say(f"{len(clips)} recordings; making scenes and running the network over them")
    patches, identity = cached_patches(clips, network, SEED, options.cache)
    params = FitParams()
    heads, scores = cross_validate(patches, identity, params)
    weights, bias = fit_without(patches, None, params)
    head = replace(heads[0], weights=weights, bias=bias, trained_on=identity)
    head.save(options.out)
    if options.folds is not None:
        options.folds.mkdir(parents=True, exist_ok=True)
        for fold, one in enumerate(heads):
            one.save(options.folds / f"fold_{fold}.npz")
        folds = {clip.name: clip.fold for clip in clips}
        (options.folds / "folds.json").write_text(json.dumps(folds, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    say("scoring the whole chain, every scene with the head that never heard its source")
    report = report_of(clips, patches, scores, heads, network, identity)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    options.out.with_name("REPORT.md").write_text(markdown(report), encoding="utf-8")
    say(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
