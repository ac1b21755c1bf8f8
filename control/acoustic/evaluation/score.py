"""From what the chain heard to numbers, each with the recordings behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.evaluation.mixes import SNR_DB, Mix
from gwanje.control.acoustic.evaluation.play import Played, begun_s, decided_s
from gwanje.control.acoustic.features import SAMPLE_RATE_HZ
from gwanje.control.acoustic.training.scenes import frame_energy

FOUND_WITHIN_S: Final = 2.0
ONSET_TOLERANCE_S: Final = 0.5
ALARMS_PER_H: Final = 1.0
MERGED_S: Final = 5.0  # alarms of a class within it are one, as in the detector's hold-off
AUDIBLE_DB: Final = 20.0  # an event begins where it first comes this close to its loudest 10 ms
Z95: Final = 1.959963985

Floats = NDArray[np.float64]


def onset_s(played: Played) -> float:
    """Where the event of a mix can first be heard."""
    assert played.mix.clip is not None, "a street without an event has no onset"
    return audible_s(played.mix)


def audible_s(mix: Mix) -> float:
    """Where the event of a mix can first be heard; NaN without one."""
    if mix.clip is None:
        return float("nan")
    energy = frame_energy(mix.clip.samples)
    if not len(energy):
        return mix.onset_s
    return mix.onset_s + int(np.argmax(energy >= energy.max() * 10 ** (-AUDIBLE_DB / 10))) * 160 / SAMPLE_RATE_HZ


def wilson(hits: float, n: float) -> list[float]:
    """95 % interval of a share of n independent trials (Wilson 1927); honest where all or none of a few hit."""
    if n <= 0:
        return [0.0, 1.0]
    share = hits / n
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)) / (1 + Z95**2 / n)
    return [round(float(max(0.0, middle - half)), 3), round(float(min(1.0, middle + half)), 3)]


def hours_of(played: Sequence[Played]) -> float:
    """Hours played."""
    return sum(one.mix.seconds for one in played) / 3600.0


def false_peaks(streets: Sequence[Played], c: int) -> Floats:
    """Highest score of a class in every five seconds of the streets in which it was judged, falling."""
    peaks: list[float] = []
    for one in streets:
        if len(one.times_s):
            turn = (one.times_s // MERGED_S).astype(int)
            best = np.full(turn.max() + 1, -np.inf)
            np.maximum.at(best, turn, one.scores[:, c])
            peaks += best[np.isfinite(best)].tolist()
    return np.sort(np.array(peaks))[::-1]


def limit_at(peaks: Floats, hours: float, per_h: float) -> float:
    """The score that these streets exceed ``per_h`` times an hour at most."""
    allowed = int(per_h * hours)
    return float(peaks[allowed]) if allowed < len(peaks) else -np.inf


def best_in_time(one: Played, c: int) -> float:
    """Highest score of a class within two seconds of the onset of the mix's event."""
    begun = onset_s(one)
    inside = (one.times_s > begun) & (one.times_s <= begun + FOUND_WITHIN_S)
    return float(one.scores[inside, c].max()) if inside.any() else -np.inf


def found(one: Played) -> Any:
    """The first event of the right class within two seconds of the onset, or None."""
    begun = onset_s(one)
    for heard in one.heard:
        right = one.mix.clip is not None and CLASS_NAMES[heard.detection.class_index] == one.mix.clip.class_name
        if right and 0.0 <= decided_s(heard) - begun <= FOUND_WITHIN_S:
            return heard
    return None


def recalls(events: Sequence[Played], c: int, limit: float) -> dict[str, tuple[float | None, list[float]]]:
    """By ratio: recall (mean over clips), and its 95 % interval with as many trials as there are source recordings."""
    table: dict[str, tuple[float | None, list[float]]] = {}
    for snr_db in SNR_DB:
        by_source: dict[str, dict[str, list[bool]]] = {}
        for one in events:
            if one.mix.snr_db == snr_db and one.mix.clip is not None and one.mix.clip.label == c:
                clips = by_source.setdefault(one.mix.clip.source, {})
                clips.setdefault(one.mix.clip.name, []).append(best_in_time(one, c) > limit)
        shares = [float(np.mean(hits)) for clips in by_source.values() for hits in clips.values()]
        mean = float(np.mean(shares)) if shares else None
        n = len(by_source)
        table[f"{snr_db:g}"] = (
            None if mean is None else round(mean, 3), wilson((mean or 0.0) * n, n) if n else [0.0, 1.0]
        )  # fmt: skip
    return table


def event_f1(events: Sequence[Played], c: int) -> float | None:
    """F1 of a class over the mixes with an event: right class and onset within half a second (the DCASE rule).

    What is heard elsewhere in a mix, or of another class, is a false alarm; what is not heard is missed.
    """
    hit = wrong = missed = 0
    for one in events:
        mine = one.mix.clip is not None and one.mix.clip.label == c
        begun, matched = onset_s(one), False
        for heard in one.heard:
            if heard.detection.class_index == c:
                near = abs(begun_s(heard) - begun) <= ONSET_TOLERANCE_S
                if mine and near and not matched:
                    matched = True
                else:
                    wrong += 1
        hit, missed = hit + (mine and matched), missed + (mine and not matched)
    if hit + missed == 0:
        return None
    return round(2 * hit / (2 * hit + wrong + missed), 3)


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50 and p99."""
    return {
        f"p{q:g}": round(float(np.quantile(np.array(values), q / 100)), 3) if len(values) else None for q in (50, 99)
    }


def delays_s(events: Sequence[Played]) -> list[float]:
    """Onset to decision of every event that was found."""
    return [decided_s(heard) - onset_s(one) for one in events if (heard := found(one)) is not None]


def scores(events: Sequence[Played], streets: Sequence[Played]) -> dict[str, Any]:
    """Everything that ``gwanje acoustic eval`` writes.

    Args:
        events: mixes with an event.
        streets: mixes without.
    """
    hours = hours_of(streets)
    classes: dict[str, Any] = {}
    for c, name in enumerate(CLASS_NAMES):
        clips = {one.mix.clip.name for one in events if one.mix.clip is not None and one.mix.clip.label == c}
        if not clips:
            continue
        table = recalls(events, c, limit_at(false_peaks(streets, c), hours, ALARMS_PER_H))
        classes[name] = {
            "clips": len(clips),
            "recall_at_1fa_per_h": {snr: recall for snr, (recall, _) in table.items()},
            "ci95": {snr: interval for snr, (_, interval) in table.items()},
            "event_f1": event_f1(events, c),
        }
    false = sum(len(one.heard) for one in streets)
    return {
        "classes": classes,
        "false_alarms_per_hour": round(false / hours, 3) if hours else None,
        "negative_hours": round(hours, 3),
        "latency_s": quantiles(delays_s(events)),
    }
