"""Scores on recordings the scored head has never heard, with the number of clips behind every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, Chain, Heard
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.features import SAMPLE_RATE_HZ, levelled
from gwanje.control.acoustic.head import Head
from gwanje.control.acoustic.model import Yamnet
from gwanje.control.acoustic.training.patches import NEGATIVE, PATCH_HOP, TEST_SNR_DB, Patches
from gwanje.control.acoustic.training.scenes import Scene

PATCH_STEP_S: Final = PATCH_HOP / 100.0
FOUND_WITHIN_S: Final = 2.0
MERGE_PATCHES: Final = 20  # alarms within about five seconds are one
ONSET_TOLERANCE_S: Final = 0.5
BOOTSTRAPS: Final = 400
SAMPLE_NS: Final = 1_000_000_000 // SAMPLE_RATE_HZ
START_NS: Final = 1_000_000_000

Floats = NDArray[np.float64]


def median_scores(log_odds: Floats, scene: NDArray[np.int64], n: int) -> Floats:
    """Median over the latest n patches of a scene; fewer at its beginning."""
    rows = np.arange(len(scene))
    stack = []
    for back in range(n):
        earlier = np.maximum(rows - back, 0)
        stack.append(log_odds[np.where(scene[earlier] == scene, earlier, rows)])
    return np.asarray(np.median(np.stack(stack), axis=0))


def negative_hours(patches: Patches) -> float:
    """Hours of plain negatives."""
    return float((patches.plain & (patches.class_index == NEGATIVE)).sum()) * PATCH_STEP_S / 3600.0


def thresholds(scores: Floats, patches: Patches, alarms_per_h: float) -> NDArray[np.float32]:
    """Per class, the score that the plain negatives reach ``alarms_per_h`` times an hour.

    Args:
        scores: (n, n_classes) medians of held-out log odds.
        patches: whose scores they are.
        alarms_per_h: per class.
    """
    negative = np.flatnonzero(patches.plain & (patches.class_index == NEGATIVE))
    within = negative - np.searchsorted(patches.scene, patches.scene[negative])
    _, group = np.unique(patches.scene[negative] * 10_000 + within // MERGE_PATCHES, return_inverse=True)
    allowed = int(alarms_per_h * negative_hours(patches))
    result = np.empty(len(CLASS_NAMES), dtype=np.float32)
    for c in range(len(CLASS_NAMES)):
        peaks = np.full(group.max() + 1, -np.inf)
        np.maximum.at(peaks, group, scores[negative, c])
        result[c] = np.sort(peaks)[::-1][allowed]
    return result


def _interval(hits: Floats, sources: NDArray[np.str_]) -> list[float]:
    """95 % interval of the mean over sources, by drawing sources with replacement; [0, 1] for a single source."""
    names = np.unique(sources)
    if len(names) < 2:
        return [0.0, 1.0]
    of_source = np.array([hits[sources == name].mean() for name in names])
    drawn = np.random.default_rng(0).choice(of_source, (BOOTSTRAPS, len(names))).mean(axis=1)
    return [round(float(edge), 3) for edge in np.quantile(drawn, [0.025, 0.975])]


def recall_table(scores: Floats, patches: Patches, limits: NDArray[np.float32]) -> dict[str, Any]:
    """Per class: clips, sources, and by signal-to-noise ratio recall within 2 s (mean over sources) with interval."""
    table: dict[str, Any] = {}
    for c, name in enumerate(CLASS_NAMES):
        rows = np.flatnonzero(patches.plain & (patches.class_index == c))
        in_time = (patches.age_s[rows] > 0.05) & (patches.age_s[rows] <= FOUND_WITHIN_S)
        recall, interval = {}, {}
        for snr_db in TEST_SNR_DB:
            of_snr = rows[patches.snr_db[rows] == snr_db]
            scene, first, number = np.unique(patches.scene[of_snr], return_index=True, return_inverse=True)
            best = np.full(len(scene), -np.inf)
            timely = rows[in_time & (patches.snr_db[rows] == snr_db)]
            np.maximum.at(best, np.searchsorted(scene, patches.scene[timely]), scores[timely, c])
            hits, sources = (best >= limits[c]).astype(float), patches.source[of_snr][first]
            by_source = [hits[sources == one].mean() for one in np.unique(sources)]
            recall[f"{snr_db:g}"] = round(float(np.mean(by_source)), 3)
            interval[f"{snr_db:g}"] = _interval(hits, sources)
            assert number.max(initial=-1) == len(scene) - 1, "every scene has a patch"
        table[name] = {
            "clips": len(np.unique(patches.clip[rows])),
            "sources": len(np.unique(patches.source[rows])),
            "threshold": round(float(limits[c]), 3),
            "recall_at_1fa_per_h": recall,
            "ci95": interval,
        }
    return table


@dataclass(frozen=True, slots=True)
class Played:
    """What the whole chain made of one scene.

    Attributes:
        scene: what was played.
        heard: its events, in order.
    """

    scene: Scene
    heard: tuple[Heard, ...]

    def delay_s(self, heard: Heard) -> float:
        """From the scene's onset to the decision."""
        return (heard.detection.mono_ns - START_NS) * 1e-9 - self.scene.onset_s

    def found(self) -> Heard | None:
        """The event of the right class, when it came within two seconds of the onset."""
        for heard in self.heard:
            right = CLASS_NAMES[heard.detection.class_index] == self.scene.clip.class_name
            if right and 0.0 <= self.delay_s(heard) <= FOUND_WITHIN_S:
                return heard
        return None


def play(scene: Scene, head: Head, network: Yamnet, params: DetectorParams) -> Played:
    """A scene through the whole chain of one node, as the city runs it."""
    chain = Chain(1, lambda patches: head.margins(network(levelled(patches))), params, quiet_above_floor_db=3.0)
    heard: list[Heard] = []
    for end in range(BLOCK_SAMPLES, len(scene.samples) + 1, BLOCK_SAMPLES):
        chain.push(0, scene.samples[end - BLOCK_SAMPLES : end], START_NS + end * SAMPLE_NS, [])
        heard += chain.advance()[1]
    return Played(scene, tuple(heard))


def chain_scores(played: list[Played]) -> dict[str, Any]:
    """What the whole chain did: per class found within two seconds and latency, and false alarms per hour."""
    events = [one for one in played if one.scene.clip.label != NEGATIVE]
    negatives = [one for one in played if one.scene.clip.label == NEGATIVE]
    hours = sum(len(one.scene.samples) for one in negatives) / SAMPLE_RATE_HZ / 3600.0
    false = [heard for one in negatives for heard in one.heard]
    classes: dict[str, Any] = {}
    for c, name in enumerate(CLASS_NAMES):
        mine = [one for one in events if one.scene.clip.label == c]
        found = [(one, heard) for one in mine if (heard := one.found()) is not None]
        delays = [one.delay_s(heard) for one, heard in found]
        onsets = [abs((heard.onset_mono_ns - START_NS) * 1e-9 - one.scene.onset_s) for one, heard in found]
        classes[name] = {
            "clips": len({one.scene.clip.name for one in mine}),
            "found_within_2s": {
                f"{snr:g}": _share([one.found() is not None for one in mine if one.scene.snr_db == snr])
                for snr in TEST_SNR_DB
            },
            "latency_s": {"p50": _quantile(delays, 0.5), "p99": _quantile(delays, 0.99)},
            "onset_within_500ms": _share([error <= ONSET_TOLERANCE_S for error in onsets]),
            "false_alarms": sum(heard.detection.class_index == c for heard in false),
        }
    delays = [one.delay_s(heard) for one in events if (heard := one.found()) is not None]
    return {
        "classes": classes,
        "negative_hours": round(hours, 3),
        "false_alarms": len(false),
        "false_alarms_per_hour": round(len(false) / hours, 2) if hours else None,
        "latency_s": {"p50": _quantile(delays, 0.5), "p99": _quantile(delays, 0.99)},
    }


def _share(hits: list[bool]) -> float | None:
    return round(float(np.mean(hits)), 3) if hits else None


def _quantile(values: list[float], q: float) -> float | None:
    return round(float(np.quantile(values, q)), 3) if values else None
