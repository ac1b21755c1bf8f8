"""The public check: the ten kinds of ESC-10 told apart by what the network gives, over that set's own folds."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.ears import Network
from gwanje.control.acoustic.features import PATCH_FRAMES, front_end, levelled
from gwanje.control.acoustic.training.clips import Clip
from gwanje.control.acoustic.training.scenes import to_int16

FOLD: Final = re.compile(r"esc10_(\d)-")
HOP_FRAMES: Final = 48
RIDGE: Final = 3e-3
ITERATIONS: Final = 60


def clip_features(clips: list[Clip], network: Network) -> NDArray[np.float32]:
    """(n, 2048): mean and largest of the embeddings over each recording, square roots."""
    kernel, out = front_end(1), []
    for clip in clips:
        kernel.reset()
        peak = float(np.abs(clip.samples).max()) + 1e-9
        samples = to_int16(clip.samples * np.float32(min(1.0, 0.95 / peak)))
        samples = np.pad(samples, (0, max(0, (PATCH_FRAMES + 3) * 160 - len(samples))))
        frames = kernel.process(samples[None])[0]
        starts = range(0, len(frames) - PATCH_FRAMES + 1, HOP_FRAMES)
        embedding = network(levelled(np.stack([frames[at : at + PATCH_FRAMES] for at in starts]))).embedding
        out.append(np.sqrt(np.concatenate([embedding.mean(axis=0), embedding.max(axis=0)])))
    return np.stack(out)


def _fitted(x: NDArray[np.float32], labels: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Softmax regression with a ridge; the last column of ``x`` is ones."""
    from scipy.optimize import minimize

    target = np.eye(n, dtype=np.float32)[labels]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(x.shape[1], n).astype(np.float32)
        z = x @ w
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        value = -float(((z * target).sum(axis=1) - np.log(total[:, 0])).mean()) + RIDGE * float((w[:-1] ** 2).sum())
        gradient = x.T @ ((e / total - target) / np.float32(len(x)))
        gradient[:-1] += 2.0 * RIDGE * w[:-1]
        return value, gradient.ravel().astype(np.float64)

    found = minimize(loss, np.zeros(x.shape[1] * n), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(found.x.reshape(x.shape[1], n), dtype=np.float32)


def esc10(clips: list[Clip], network: Network) -> dict[str, Any] | None:
    """Share of ESC-10's recordings that are told right, each fold by what the others taught; None without them."""
    mine = [(clip, int(found.group(1))) for clip in clips if (found := FOLD.search(clip.name))]
    kinds = sorted({clip.class_name for clip, _ in mine})
    folds = np.array([fold for _, fold in mine])
    if len(kinds) < 2 or len(np.unique(folds)) < 2:
        return None
    x = clip_features([clip for clip, _ in mine], network)
    labels = np.array([kinds.index(clip.class_name) for clip, _ in mine])
    right = np.zeros(len(mine), np.bool_)
    for fold in np.unique(folds):
        learn, judge = folds != fold, folds == fold
        centre, spread = x[learn].mean(axis=0), x[learn].std(axis=0) + np.float32(0.05)
        scaled = np.concatenate([(x - centre) / spread, np.ones((len(x), 1), np.float32)], axis=1)
        outputs = scaled[judge] @ _fitted(scaled[learn], labels[learn], len(kinds))
        right[judge] = outputs.argmax(axis=1) == labels[judge]
    by_fold = {str(fold): round(float(right[folds == fold].mean()), 4) for fold in np.unique(folds)}
    return {"clips": len(mine), "kinds": len(kinds), "accuracy": round(float(right.mean()), 4), "by_fold": by_fold}
