"""The trained head: from the network's activations to a margin per alarm class. Linear, one small matrix product."""

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
from gwanje.control.acoustic.model import N_EMBEDDING, N_SCORES, Activations, ModelError

HEAD_PATH: Final = Path(__file__).parent / "models" / "head.npz"
CLASS_MAP_PATH: Final = Path(__file__).parent / "models" / "yamnet_class_map.csv"
EVIDENCE_FLOOR: Final = 0.002  # added to a score before its logarithm: half a step of the network's 8 bits
FORMAT: Final = 1
N_FEATURES: Final = len(EVIDENCE) + N_EMBEDDING
N_OUTPUTS: Final = len(CLASS_NAMES) + 1  # the last is "none of these"


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


def features_of(activations: Activations, columns: tuple[NDArray[np.intp], ...]) -> NDArray[np.float32]:
    """What the head is linear in.

    Returns:
        (n, n_groups + 1024): the logarithm of each group's strongest score, then the square roots of the embedding.
    """
    evidence = np.stack([activations.scores[:, group].max(axis=1) for group in columns], axis=1)
    parts = [np.log(evidence + EVIDENCE_FLOOR), np.sqrt(activations.embedding)]
    return np.concatenate(parts, axis=1).astype(np.float32)


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
        weights: (n_features, n_classes + 1) float32.
        bias: (n_classes + 1,) float32.
        thresholds: (n_classes,) float32, log odds against "none of these" at which an event begins.
        median_patches: (n_classes,) how many patches the thresholds were set with.
        trained_on: hash of the recordings and parameters of the training.
        columns: of the scores, see ``evidence_columns``.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    thresholds: NDArray[np.float32]
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
            if int(arrays["format"]) != FORMAT or tuple(arrays["classes"].tolist()) != CLASS_NAMES:
                raise ModelError(f"{path.name}: trained for other classes than this program's; train it again")
            if str(arrays["digest"]) != digest(arrays):
                raise ModelError(f"{path.name}: the file was altered (its digest does not fit)")
            head = cls(
                arrays["weights"], arrays["bias"], arrays["thresholds"],
                tuple(int(n) for n in arrays["median_patches"]), str(arrays["trained_on"]), evidence_columns(),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path.name}: not a trained head ({error})") from None
        if head.weights.shape != (N_FEATURES, N_OUTPUTS) or head.bias.shape != (N_OUTPUTS,):
            raise ModelError(f"{path.name}: weights of shape {head.weights.shape}, expected {(N_FEATURES, N_OUTPUTS)}")
        return head

    def save(self, path: Path) -> None:
        """Write the head; the same head always gives the same arrays and digest."""
        arrays: dict[str, NDArray[np.generic]] = {
            "format": np.array(FORMAT),
            "classes": np.array(CLASS_NAMES),
            "weights": self.weights.astype(np.float32),
            "bias": self.bias.astype(np.float32),
            "thresholds": self.thresholds.astype(np.float32),
            "median_patches": np.array(self.median_patches, dtype=np.int32),
            "trained_on": np.array(self.trained_on),
        }
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays, digest=np.array(digest(arrays)))  # type: ignore[arg-type]

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log odds of each class against "none of these", (n, n_classes)."""
        outputs = features @ self.weights + self.bias
        return np.asarray(outputs[:, :-1] - outputs[:, -1:])

    def margins(self, activations: Activations) -> NDArray[np.float32]:
        """Log odds above each class's threshold, (n, n_classes) float32."""
        return self.log_odds(features_of(activations, self.columns)) - self.thresholds


assert N_SCORES == 521, "the class map has one row per score"
