"""Multinomial logistic regression with a ridge, fitted by L-BFGS: scipy and numpy are all it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import EVIDENCE
from gwanje.control.acoustic.head import N_FEATURES, N_OUTPUTS

N_EVIDENCE: Final = len(EVIDENCE)
MAX_ITERATIONS: Final = 120  # beyond it the held-out scores no longer change

HARD_FROM: Final = 3.0  # log odds under zero from which a negative counts as hard …
HARD_UP_TO: Final = 4.0  # … and above which it counts no more

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


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
    """

    ridge: float = 2e-3
    embedding_ridge: float = 10.0
    n_directions: int = 100
    negative_share: float = 0.8
    synthetic_share: float = 0.5
    hard_gain: float = 2.0


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
    """Mean and (1024, n) scaled principal directions."""
    mean = embedding.mean(axis=0)
    variance, vectors = np.linalg.eigh(np.cov((embedding[::3] - mean).T))
    variance, vectors = variance[::-1][:n], vectors[:, ::-1][:, :n]
    return mean, (vectors / np.sqrt(variance + 0.05 * variance.mean())).astype(np.float32)


def _minimise(x: Floats, labels: Ints, weights: Floats, penalty: Floats, start: Floats | None = None) -> Floats:
    """(d, n_outputs) coefficients, from ``start`` or zero; the last column of ``x`` is ones."""
    from scipy.optimize import minimize

    weights = weights / weights.sum()
    target = np.zeros((len(labels), N_OUTPUTS), dtype=np.float32)
    target[np.arange(len(labels)), labels] = 1.0

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(x.shape[1], N_OUTPUTS).astype(np.float32)
        z = x @ w
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        value = -float((weights * ((z * target).sum(axis=1) - np.log(total[:, 0]))).sum())
        value += float((penalty[:, None] * w**2).sum())
        gradient = x.T @ ((e / total - target) * weights[:, None]) + 2.0 * penalty[:, None] * w
        return value, gradient.ravel().astype(np.float64)

    at = np.zeros(x.shape[1] * N_OUTPUTS) if start is None else start.ravel().astype(np.float64)
    found = minimize(loss, at, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS})
    return np.asarray(found.x.reshape(x.shape[1], N_OUTPUTS), dtype=np.float32)


def fit(
    features: Floats, labels: Ints, sources: NDArray[np.str_], synthetic: NDArray[np.bool_], params: FitParams
) -> tuple[Floats, Floats]:
    """Fit the head.

    Args:
        features: (n, n_features), see ``head.features_of``.
        labels: (n,) class index; the last is "none of these".
        sources: (n,) identity of the recording.
        synthetic: (n,) whether the sound was made, not recorded.
        params: how.

    Returns:
        Weights (n_features, n_outputs) and bias (n_outputs,) for features as they are given.
    """
    mean, directions = _directions(features[:, N_EVIDENCE:], params.n_directions)
    x = np.concatenate([features[:, :N_EVIDENCE], (features[:, N_EVIDENCE:] - mean) @ directions], axis=1)
    centre, spread = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    x = np.concatenate([(x - centre) / spread, np.ones((len(x), 1), np.float32)], axis=1)
    penalty = np.full(x.shape[1], params.ridge * params.embedding_ridge, dtype=np.float32)
    penalty[:N_EVIDENCE], penalty[-1] = params.ridge, 0.0
    importance = sample_weights(labels, sources, synthetic, params)
    solution = _minimise(x, labels, importance, penalty)
    outputs = x @ solution
    near = outputs[:, :-1].max(axis=1) - outputs[:, -1] + HARD_FROM
    hard = (labels == N_OUTPUTS - 1) & (near > 0.0)
    importance[hard] *= 1.0 + np.float32(params.hard_gain) * np.minimum(near[hard], HARD_UP_TO)
    solution = _minimise(x, labels, importance, penalty, solution)
    slopes = solution[:-1] / spread[:, None]
    weights = np.empty((N_FEATURES, N_OUTPUTS), dtype=np.float32)
    weights[:N_EVIDENCE] = slopes[:N_EVIDENCE]
    weights[N_EVIDENCE:] = directions @ slopes[N_EVIDENCE:]
    bias = solution[-1] - centre @ slopes - mean @ weights[N_EVIDENCE:]
    return weights, bias.astype(np.float32)
