"""What heads would have made of judgements that were collected once: margins, medians, events, without the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import JOINED_NS, Heard
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams, NodeState, filtered, glance, step
from gwanje.control.acoustic.evaluation.mixes import Mix
from gwanje.control.acoustic.evaluation.play import START_NS, Played
from gwanje.control.acoustic.evaluation.score import MERGED_S, best_in_time, false_peaks
from gwanje.control.acoustic.head import IS_IMPULSE, N_ONSET, Head
from gwanje.control.acoustic.training.collect import Rows

TAIL_PEAKS: Final = 8
TEMPERATURES: Final = (0.3, 4.0)
NEVER: Final = np.float32(np.inf)

Floats = NDArray[np.float32]


def raw_margins(rows: Rows, of: NDArray[np.intp], head: Head) -> Floats:
    """(k, n_classes) margins of some rows, -inf for what a quick look does not tell."""
    features, look = rows.features[of].astype(np.float32), rows.look[of]
    steady = (head.log_odds(features[:, N_ONSET:]) - head.thresholds[0]) / head.temperatures[0]
    quick = (head.look_log_odds(features) - head.thresholds[1]) / head.temperatures[1]
    quick = np.where(IS_IMPULSE, quick, -np.inf)
    return np.where(look[:, None], quick, steady).astype(np.float32)


def replayed(mix: Mix, rows: Rows, of: NDArray[np.intp], margins: Floats, params: DetectorParams) -> Played:
    """A mix as the detector hears it, from the margins of its judgements in their order."""
    state, last_ns = NodeState(), 0
    times, scores, heard = [], [], []
    for j, margin in zip(of.tolist(), margins, strict=True):
        now_ns = START_NS + round(float(rows.time_s[j]) * 1e9)
        if rows.look[j]:
            state, found = glance(state, margin, now_ns, params)
            scores.append(margin)
        else:
            if now_ns - last_ns > JOINED_NS:
                state = NodeState((), state.active, state.below_since_ns, state.last_event_ns, state.last_any_ns)
            last_ns = now_ns
            state, found = step(state, margin, now_ns, params)
            scores.append(filtered(state.recent, params.median_patches))
        times.append(float(rows.time_s[j]))
        if found is not None:
            heard.append(Heard(0, found, START_NS + round(float(rows.onset_s[j]) * 1e9), 0.0, 0.0))
    table = np.stack(scores) if scores else np.empty((0, len(CLASS_NAMES)), np.float32)
    return Played(mix, tuple(heard), np.array(times), table)


def replay(mixes: Sequence[Mix], rows: Rows, heads: dict[int, Head], params: DetectorParams) -> list[Played]:
    """Every mix judged by the head of its fold, which has heard nothing of it."""
    by_mix = np.argsort(rows.mix, kind="stable")
    edges = np.searchsorted(rows.mix[by_mix], np.arange(len(mixes) + 1))
    margins = np.empty((len(rows.mix), len(CLASS_NAMES)), np.float32)
    fold_of = np.array([mix.fold for mix in mixes])[rows.mix]
    for fold, head in heads.items():
        of = np.flatnonzero(fold_of == fold)
        margins[of] = raw_margins(rows, of, head)
    played = []
    for number, mix in enumerate(mixes):
        of = by_mix[edges[number] : edges[number + 1]]
        played.append(replayed(mix, rows, of, margins[of], params))
    return played


def parted(played: Sequence[Played], rows: Rows, look: bool) -> list[Played]:
    """The same with the quick looks alone, or with the patches alone."""
    by_mix = np.argsort(rows.mix, kind="stable")
    at, out = 0, []
    for one in played:
        mine = rows.look[by_mix[at : at + len(one.times_s)]] == look
        at += len(one.times_s)
        out.append(Played(one.mix, (), one.times_s[mine], one.scores[mine]))
    return out


def limit(peaks: NDArray[np.float64], hours: float, per_h: float) -> float:
    """The score reached ``per_h`` times an hour; beyond the rarest that was seen, along the tail's exponential.

    Args:
        peaks: falling.
        hours: in which they were seen.
        per_h: how often it may be reached.
    """
    if not len(peaks):
        return float("inf")
    k = min(TAIL_PEAKS, len(peaks) - 1)
    wanted = per_h * hours
    if k < 2 or wanted >= k:
        return float(peaks[min(int(wanted), len(peaks) - 1)])
    slope = float(np.mean(peaks[:k] - peaks[k]))
    return float(peaks[k] + slope * np.log(k / wanted))


def limits(streets: Sequence[Played], rows: Rows, hours: float, per_h: float) -> NDArray[np.float32]:
    """(2, n_classes) thresholds of the steady and of the impulse head; an impulse's two share its false alarms."""
    out = np.full((2, len(CLASS_NAMES)), np.inf, np.float32)
    for look in (False, True):
        part = parted(streets, rows, look)
        for c in range(len(CLASS_NAMES)):
            if look and not IS_IMPULSE[c]:
                continue
            share = 0.5 if IS_IMPULSE[c] else 1.0
            out[int(look), c] = limit(false_peaks(part, c), hours, per_h * share)
    return out


def temperature(hits: NDArray[np.float64], quiet: NDArray[np.float64]) -> float:
    """By what log odds are to be divided: from the logistic curve between held-out events and streets."""
    from scipy.optimize import minimize

    hits, quiet = hits[np.isfinite(hits)], quiet[np.isfinite(quiet)]
    if len(hits) < 4 or len(quiet) < 4:
        return 1.0
    x = np.concatenate([hits, quiet])
    y = np.concatenate([np.ones(len(hits)), np.zeros(len(quiet))])
    w = np.concatenate([np.full(len(hits), 0.5 / len(hits)), np.full(len(quiet), 0.5 / len(quiet))])

    def loss(at: NDArray[np.float64]) -> float:
        z = at[0] * x + at[1]
        return float((w * (np.logaddexp(0.0, z) - y * z)).sum() + 1e-3 * at[0] ** 2)

    slope = float(minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x[0])
    return float(np.clip(1.0 / max(slope, 1e-3), *TEMPERATURES))


def temperatures(events: Sequence[Played], streets: Sequence[Played], event_rows: Rows, rows: Rows) -> Any:
    """(2, n_classes) temperatures of both heads, from held-out scores."""
    out = np.ones((2, len(CLASS_NAMES)), np.float32)
    for look in (False, True):
        part, quiet = parted(events, event_rows, look), parted(streets, rows, look)
        for c in range(len(CLASS_NAMES)):
            if look and not IS_IMPULSE[c]:
                continue
            mine = [one for one in part if one.mix.clip is not None and one.mix.clip.label == c]
            hits = np.array([best_in_time(one, c) for one in mine])
            out[int(look), c] = temperature(hits, false_peaks(quiet, c))
    return out


assert MERGED_S > 0.0
