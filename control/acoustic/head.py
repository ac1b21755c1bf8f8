"""The trained heads: from the network's activations to a margin per alarm class. Linear, small matrix products.

The steady head judges every patch of 0.96 s. The impulse head judges the one quick look at an onset: besides what the
network says it reads the shape of the onset in milliseconds and how its bands stand over the noise floor.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES, EVIDENCE
from gwanje.control.acoustic.features import N_MELS, PATCH_FRAMES
from gwanje.control.acoustic.model import N_EMBEDDING, N_SCORES, Activations, ModelError
from gwanje.ext.envelope import N_MEASURES

HEAD_PATH: Final = Path(__file__).parent / "models" / "head.npz"
CLASS_MAP_PATH: Final = Path(__file__).parent / "models" / "yamnet_class_map.csv"
EVIDENCE_FLOOR: Final = 0.002  # added to a score before its logarithm: half a step of the network's 8 bits
FORMAT: Final = 2
N_EVIDENCE: Final = len(EVIDENCE)
N_FEATURES: Final = N_EVIDENCE + N_EMBEDDING
N_PROFILE_BANDS: Final = 8
N_ONSET: Final = N_MEASURES + 3 * N_PROFILE_BANDS
N_LOOK: Final = N_ONSET + N_FEATURES
N_OUTPUTS: Final = len(CLASS_NAMES) + 1  # the last is "none of these"
IMPULSES: Final = ("gunshot", "explosion", "glass_break", "vehicle_crash")
IS_IMPULSE: Final = np.array([name in IMPULSES for name in CLASS_NAMES])
STRUCK_FRAMES: Final = 4  # of an onset: the blow itself, before what rings and echoes

Floats = NDArray[np.float32]


def evidence_columns(class_map: Path = CLASS_MAP_PATH) -> tuple[NDArray[np.intp], ...]:
    """Columns of the scores that belong to each group of ``EVIDENCE``.

    Raises:
        ModelError: the class map is absent or lacks a name.
    """
    try:
        with class_map.open(encoding="utf-8", newline="") as file:
            index = {row["display_name"]: int(row["index"]) for row in csv.DictReader(file)}
        return tuple(np.array([index[name] for name in group], dtype=np.intp) for group in EVIDENCE)
    except OSError as error:
        raise ModelError(f"{class_map.name}: {error.strerror}") from None
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{class_map.name}: not the class map this head was trained with ({error})") from None


def features_of(activations: Activations, columns: tuple[NDArray[np.intp], ...]) -> Floats:
    """What the steady head is linear in.

    Returns:
        (n, n_groups + 1024): the logarithm of each group's strongest score, then the square roots of the embedding.
    """
    evidence = np.stack([activations.scores[:, group].max(axis=1) for group in columns], axis=1)
    parts = [np.log(evidence + EVIDENCE_FLOOR), np.sqrt(activations.embedding)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def onset_features(patches: Floats, shapes: Floats, ages_ms: NDArray[np.int64], floors: Floats) -> Floats:
    """What the impulse head reads beside the network.

    Args:
        patches: (n, 96, 64) log-mel.
        shapes: (n, 8) of the onsets, see ``ext.envelope.shapes``.
        ages_ms: (n,) how long before the end of each patch its onset began.
        floors: (n, 64) noise floor of each band, natural logarithm.

    Returns:
        (n, 32): the shapes, times as logarithms; then over the noise floor and in eight bands the blow, what follows
        it, and what was there before.
    """
    out = np.empty((len(patches), N_ONSET), np.float32)
    out[:, :N_MEASURES] = shapes
    out[:, [1, 6, 7]] = np.log1p(shapes[:, [1, 6, 7]])
    over = patches - floors[:, None]
    bands = over.reshape(len(patches), PATCH_FRAMES, N_PROFILE_BANDS, N_MELS // N_PROFILE_BANDS).mean(axis=3)
    first = np.clip(PATCH_FRAMES - ages_ms // 10 - 1, 1, PATCH_FRAMES - STRUCK_FRAMES - 1)
    for i, at in enumerate(first.tolist()):
        struck, after = bands[i, at : at + STRUCK_FRAMES].max(axis=0), bands[i, at + STRUCK_FRAMES :].mean(axis=0)
        out[i, N_MEASURES:] = np.concatenate([struck, after, bands[i, :at].mean(axis=0)])
    return out


def digest(arrays: dict[str, NDArray[np.generic]]) -> str:
    """Identity of a head: hash of everything in it but the hash itself."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        if name != "digest":
            total.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
            total.update(np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Weights and thresholds.

    Attributes:
        weights: (n_features, n_classes + 1) float32 of the steady head.
        bias: (n_classes + 1,) float32.
        look_weights: (n_look, n_classes + 1) float32 of the impulse head.
        look_bias: (n_classes + 1,) float32.
        thresholds: (2, n_classes) float32, log odds against "none of these" at which an event begins: of the steady
            and of the impulse head. Infinite for what a head does not tell.
        temperatures: (2, n_classes) float32, by which log odds are divided so that they are odds.
        median_patches: (n_classes,) how many patches the thresholds were set with.
        trained_on: hash of the recordings and parameters of the training.
        columns: of the scores, see ``evidence_columns``.
    """

    weights: Floats
    bias: Floats
    look_weights: Floats
    look_bias: Floats
    thresholds: Floats
    temperatures: Floats
    median_patches: tuple[int, ...]
    trained_on: str
    columns: tuple[NDArray[np.intp], ...]

    @classmethod
    def load(cls, path: Path = HEAD_PATH) -> Self:
        """Read and check a head.

        Raises:
            ModelError: absent, altered, or made for other classes or another feature set.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except OSError as error:
            raise ModelError(f"{path.name}: {error.strerror or error}") from None
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path.name}: not a trained head ({error})") from None
        try:
            if int(arrays["format"]) not in (1, FORMAT) or tuple(arrays["classes"].tolist()) != CLASS_NAMES:
                raise ModelError(f"{path.name}: trained for other classes than this program's; train it again")
            if str(arrays["digest"]) != digest(arrays):
                raise ModelError(f"{path.name}: the file was altered (its digest does not fit)")
            if int(arrays["format"]) == 1:  # heads of before there were looks
                n = len(CLASS_NAMES)
                arrays["look_weights"] = np.zeros((N_LOOK, N_OUTPUTS), np.float32)
                arrays["look_bias"] = np.zeros(N_OUTPUTS, np.float32)
                arrays["thresholds"] = np.stack([arrays["thresholds"], np.full(n, np.inf, np.float32)])
                arrays["temperatures"] = np.ones((2, n), np.float32)
            head = cls(
                arrays["weights"], arrays["bias"], arrays["look_weights"], arrays["look_bias"], arrays["thresholds"],
                arrays["temperatures"], tuple(int(n) for n in arrays["median_patches"]), str(arrays["trained_on"]),
                evidence_columns(),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path.name}: not a trained head ({error})") from None
        head.check(path.name)
        return head

    def check(self, name: str) -> None:
        """Refuse shapes that do not fit.

        Raises:
            ModelError: one does not.
        """
        n = len(CLASS_NAMES)
        expected = {
            "weights": (N_FEATURES, N_OUTPUTS), "bias": (N_OUTPUTS,), "look_weights": (N_LOOK, N_OUTPUTS),
            "look_bias": (N_OUTPUTS,), "thresholds": (2, n), "temperatures": (2, n),
        }  # fmt: skip
        for field, shape in expected.items():
            if getattr(self, field).shape != shape:
                raise ModelError(f"{name}: {field} of shape {getattr(self, field).shape}, expected {shape}")
        if len(self.median_patches) != n or not (self.temperatures > 0.0).all():
            raise ModelError(f"{name}: not a trained head (medians or temperatures)")

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "format": np.array(FORMAT),
            "classes": np.array(CLASS_NAMES),
            "weights": self.weights.astype(np.float32),
            "bias": self.bias.astype(np.float32),
            "look_weights": self.look_weights.astype(np.float32),
            "look_bias": self.look_bias.astype(np.float32),
            "thresholds": self.thresholds.astype(np.float32),
            "temperatures": self.temperatures.astype(np.float32),
            "median_patches": np.array(self.median_patches, dtype=np.int32),
            "trained_on": np.array(self.trained_on),
        }

    @property
    def sha256(self) -> str:
        """Identity of the head, as its file holds it."""
        return digest(self._arrays())

    def save(self, path: Path) -> None:
        """Write the head; the same head always gives the same arrays and digest."""
        arrays = self._arrays()
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays, digest=np.array(digest(arrays)))  # type: ignore[arg-type]

    def log_odds(self, features: Floats) -> Floats:
        """Log odds of each class against "none of these", (n, n_classes)."""
        outputs = features @ self.weights + self.bias
        return np.asarray(outputs[:, :-1] - outputs[:, -1:])

    def look_log_odds(self, features: Floats) -> Floats:
        """The same of quick looks, (n, n_classes)."""
        outputs = features @ self.look_weights + self.look_bias
        return np.asarray(outputs[:, :-1] - outputs[:, -1:])

    def margins(self, activations: Activations) -> Floats:
        """Calibrated log odds above each class's threshold, (n, n_classes) float32."""
        found = self.log_odds(features_of(activations, self.columns)) - self.thresholds[0]
        return np.asarray(found / self.temperatures[0], dtype=np.float32)

    def look_margins(self, activations: Activations, onset: Floats) -> Floats:
        """Calibrated log odds of quick looks above each impulse's threshold, -inf for the other classes."""
        features = np.concatenate([onset, features_of(activations, self.columns)], axis=1)
        found = (self.look_log_odds(features) - self.thresholds[1]) / self.temperatures[1]
        return np.where(IS_IMPULSE, found, -np.inf).astype(np.float32)


assert N_SCORES == 521, "the class map has one row per score"
