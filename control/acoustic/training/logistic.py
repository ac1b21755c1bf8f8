"""Multinomial logistic regression with a ridge, fitted by L-BFGS: scipy and numpy are all it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.head import N_OUTPUTS

MAX_ITERATIONS: Final = 70
ROWS_FOR_DIRECTIONS: Final = 5_000
FAMILIES: Final = (("gunshot", "explosion", "vehicle_crash"), ("scream", "baby_cry"), ("siren_alarm", "car_horn"))
"""Impulses, voices in distress, tones: what a family shares is learnt from all of its recordings."""

HARD_FROM: Final = 3.0  # log odds under zero from which a negative counts as hard …
HARD_UP_TO: Final = 4.0  # … and above which it counts no more

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _members() -> Floats:
    """(n_outputs, n_families + n_outputs): each output is the sum of its family and its own."""
    out = np.zeros((N_OUTPUTS, len(FAMILIES) + N_OUTPUTS), np.float32)
    out[:, len(FAMILIES) :] = np.eye(N_OUTPUTS)
    for column, family in enumerate(FAMILIES):
        for name in family:
            out[CLASS_NAMES.index(name), column] = 1.0
    return out


MEMBERS: Final = _members()


@dataclass(frozen=True, slots=True)
class FitParams:
    """How the head is fitted.

    Attributes:
        ridge: penalty of the evidence weights.
        embedding_ridge: how many times more a direction of the embedding costs: a thousand activations would otherwise
            learn the recordings by heart.
        n_directions: principal directions of the embedding that are used.
        negative_share: weight of the negatives in the loss; the classes share the rest.
        synthetic_share: weight of a class's synthetic sounds, relative to its recordings.
        hard_gain: of a second fit, in which a negative that the first one took for an event, or nearly, weighs more:
            a false alarm is made by the few worst negatives, not by the many easy ones.
        family_share: penalty of what a family shares, relative to that of its members.
    """

    ridge: float = 2e-3
    embedding_ridge: float = 10.0
    n_directions: int = 100
    negative_share: float = 0.8
    synthetic_share: float = 0.5
    hard_gain: float = 2.0
    family_share: float = 0.5


def sample_weights(labels: Ints, sources: NDArray[np.str_], synthetic: NDArray[np.bool_], params: FitParams) -> Floats:
    """Weight of each patch: classes equal, and within a class no source drowns the others."""
    weights = np.zeros(len(labels), dtype=np.float64)
    for label in np.unique(labels):
        of_class = labels == label
        _, inverse, counts = np.unique(sources[of_class], return_inverse=True, return_counts=True)
        share = 1.0 / np.sqrt(counts[inverse])
        made = synthetic[of_class]
        if made.any() and not made.all():
            share[made] *= params.synthetic_share * share[~made].sum() / share[made].sum()
        rest = (1.0 - params.negative_share) / (N_OUTPUTS - 1)
        total = params.negative_share if label == N_OUTPUTS - 1 else rest
        weights[of_class] = share / share.sum() * total
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def _directions(embedding: Floats, n: int) -> tuple[Floats, Floats]:
    """Mean and (width, n) scaled principal directions."""
    from scipy.linalg import eigh

    mean = embedding.mean(axis=0)
    some = embedding[:: max(1, len(embedding) // ROWS_FOR_DIRECTIONS)] - mean
    covariance = some.T @ some / np.float32(max(1, len(some) - 1))
    width = len(covariance)
    variance, vectors = eigh(covariance, subset_by_index=[width - n, width - 1])
    variance, vectors = variance[::-1], vectors[:, ::-1]
    return mean, (vectors / np.sqrt(variance + 0.05 * np.trace(covariance) / width)).astype(np.float32)


def _minimise(
    x: Floats, labels: Ints, weights: Floats, penalty: Floats, family_share: float, start: Floats | None = None
) -> Floats:
    """(n_families + n_outputs, d) coefficients, from ``start`` or zero; the last column of ``x`` is ones."""
    from scipy.optimize import minimize

    weights = weights / weights.sum()
    target = np.zeros((len(labels), N_OUTPUTS), dtype=np.float32)
    target[np.arange(len(labels)), labels] = 1.0
    d, n_rows = x.shape[1], len(FAMILIES) + N_OUTPUTS
    of_family = np.repeat(penalty[None] * np.float32(family_share), len(FAMILIES), axis=0)
    costs = np.concatenate([of_family, np.repeat(penalty[None], N_OUTPUTS, axis=0)])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(n_rows, d).astype(np.float32)
        z = x @ (MEMBERS @ w).T
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        value = -float((weights * ((z * target).sum(axis=1) - np.log(total[:, 0]))).sum())
        value += float((costs * w**2).sum())
        outer = ((e / total - target) * weights[:, None]).T @ x
        return value, (MEMBERS.T @ outer + 2.0 * costs * w).ravel().astype(np.float64)

    at = np.zeros(n_rows * d) if start is None else start.ravel().astype(np.float64)
    found = minimize(loss, at, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS})
    return np.asarray(found.x.reshape(n_rows, d), dtype=np.float32)


def fit(
    features: Floats,
    labels: Ints,
    sources: NDArray[np.str_],
    synthetic: NDArray[np.bool_],
    n_plain: int,
    params: FitParams,
) -> tuple[Floats, Floats]:
    """Fit a head.

    Args:
        features: (n, width); the embedding's 1024 come last.
        labels: (n,) class index; the last is "none of these".
        sources: (n,) identity of the recording.
        synthetic: (n,) whether the sound was made, not recorded.
        n_plain: how many of the features are before the embedding.
        params: how.

    Returns:
        Weights (width, n_outputs) and bias (n_outputs,) for features as they are given.
    """
    n_directions = min(params.n_directions, features.shape[1] - n_plain)
    mean, directions = _directions(features[:, n_plain:], n_directions)
    x = np.concatenate([features[:, :n_plain], (features[:, n_plain:] - mean) @ directions], axis=1)
    centre, spread = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    x = np.concatenate([(x - centre) / spread, np.ones((len(x), 1), np.float32)], axis=1)
    penalty = np.full(x.shape[1], params.ridge * params.embedding_ridge, dtype=np.float32)
    penalty[:n_plain], penalty[-1] = params.ridge, 0.0
    importance = sample_weights(labels, sources, synthetic, params)
    solution = _minimise(x, labels, importance, penalty, params.family_share)
    outputs = x @ (MEMBERS @ solution).T
    near = outputs[:, :-1].max(axis=1) - outputs[:, -1] + HARD_FROM
    hard = (labels == N_OUTPUTS - 1) & (near > 0.0)
    importance[hard] *= 1.0 + np.float32(params.hard_gain) * np.minimum(near[hard], HARD_UP_TO)
    whole = (MEMBERS @ _minimise(x, labels, importance, penalty, params.family_share, solution)).T
    slopes = whole[:-1] / spread[:, None]
    weights = np.empty((features.shape[1], N_OUTPUTS), dtype=np.float32)
    weights[:n_plain] = slopes[:n_plain]
    weights[n_plain:] = directions @ slopes[n_plain:]
    bias = whole[-1] - centre @ slopes - mean @ weights[n_plain:]
    return weights, bias.astype(np.float32)
