"""The slot for a classifier of the site's own: TensorFlow Lite or ONNX, known by its hash.

It reads the chain's log-mel patches (1 × 96 × 64 or 96 × 64 or 1 × 1 × 96 × 64, float32, levelled) and gives one row of
probabilities or logits. Which of its columns speak for a class, and from what log odds on, the site says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import Glance
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import N_MELS, PATCH_FRAMES, levelled
from gwanje.control.acoustic.model import ModelError

MODEL_SUFFIXES: Final = (".tflite", ".onnx")
OUTPUT_KINDS: Final = ("probability", "logit")
PROBABILITY_FLOOR: Final = 1e-6
BYTES_MAX: Final = 1 << 30

Floats = NDArray[np.float32]


class Judge(Protocol):
    """What the chain asks: patches to margins above the thresholds."""

    median_patches: tuple[int, ...]
    identity: dict[str, str]

    @property
    def glance(self) -> Glance | None:
        """The quick look at onsets, if it has one."""

    def __call__(self, patches: Floats, /) -> Floats:
        """(n, 96, 64) log-mel patches to (n, n_classes) margins."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that a site names.

    Attributes:
        path: of the file; relative to the folder in which the program runs.
        sha256: of its content, 64 hexadecimal digits.
        output: one of ``OUTPUT_KINDS``.
        columns: per class, which outputs speak for it; none for a class that it does not know.
        thresholds: per class, log odds at which an event begins; infinite for a class without columns.
        median_patches: per class, how many patches the median spans.
    """

    path: Path
    sha256: str
    output: str
    columns: tuple[tuple[int, ...], ...]
    thresholds: tuple[float, ...]
    median_patches: tuple[int, ...]


class OwnModel:
    """A site's own classifier as the chain's ears.

    Args:
        file: which.
        shift: (n_classes,) added to the thresholds; infinite for a class that is off.

    Raises:
        ModelError: absent, altered, unreadable, or its library is not installed.
    """

    glance: Glance | None = None

    def __init__(self, file: ModelFile, shift: tuple[float, ...]) -> None:
        name = file.path.name
        try:
            if file.path.stat().st_size > BYTES_MAX:
                raise ModelError(f"{name}: larger than {BYTES_MAX >> 30} GB")
            content = file.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{name}: {error.strerror}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise ModelError(f"{name}: the file was altered (its SHA-256 is {found}, the site says {file.sha256})")
        self._run: Any = (_Tflite if file.path.suffix == ".tflite" else _Onnx)(content, name)
        highest = max((column for columns in file.columns for column in columns), default=-1)
        width = len(self._run(np.zeros((PATCH_FRAMES, N_MELS), np.float32)))
        if highest < 0:
            raise ModelError(f"{name}: the site names no column for any class")
        if highest >= width:
            raise ModelError(f"{name}: gives {width} outputs, the site names column {highest}")
        self._file = file
        self._limit = np.array(file.thresholds, np.float32) + np.array(shift, np.float32)
        self.median_patches = file.median_patches
        self.identity = {"network_sha256": found}

    def __call__(self, patches: Floats, /) -> Floats:
        """(n, 96, 64) log-mel patches to (n, n_classes) margins; -inf for a class without columns."""
        out = np.full((len(patches), len(CLASS_NAMES)), -np.inf, np.float32)
        for row, patch in zip(out, levelled(patches), strict=True):
            outputs = np.asarray(self._run(patch), np.float32)
            for c, columns in enumerate(self._file.columns):
                if columns:
                    best = float(outputs[list(columns)].max())
                    row[c] = self._log_odds(best) - self._limit[c]
        return out

    def _log_odds(self, output: float) -> float:
        if self._file.output == "logit":
            return output
        share = min(max(output, PROBABILITY_FLOOR), 1.0 - PROBABILITY_FLOOR)
        return float(np.log(share / (1.0 - share)))


def _shaped(patch: Floats, rank: int, name: str) -> Floats:
    if not 2 <= rank <= 4:
        raise ModelError(f"{name}: its input has {rank} dimensions, expected 2…4 ending in {PATCH_FRAMES} × {N_MELS}")
    return patch.reshape((1,) * (rank - 2) + patch.shape)


class _Tflite:
    def __init__(self, content: bytes, name: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ModelError(f"ai-edge-litert is not installed: {error}") from None
        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{name}: {error}") from None
        self._name = name
        self._input, self._output = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        if self._input["dtype"] is not np.float32 or tuple(self._input["shape"][-2:]) != (PATCH_FRAMES, N_MELS):
            raise ModelError(f"{name}: reads {self._input['shape']}, expected float32 of {PATCH_FRAMES} × {N_MELS}")

    def __call__(self, patch: Floats) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input["index"], _shaped(patch, len(self._input["shape"]), self._name))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output["index"]), np.float32).reshape(-1)


class _Onnx:
    def __init__(self, content: bytes, name: str) -> None:
        try:
            import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise ModelError(f"{name} needs onnxruntime, which is not installed: {error}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - the library raises classes of its own, without a base
            raise ModelError(f"{name}: {error}") from None
        self._name = name
        first = self._session.get_inputs()[0]
        self._input, self._rank = first.name, len(first.shape)
        if tuple(first.shape[-2:]) != (PATCH_FRAMES, N_MELS) or first.type != "tensor(float)":
            raise ModelError(f"{name}: reads {first.shape}, expected float32 of {PATCH_FRAMES} × {N_MELS}")

    def __call__(self, patch: Floats) -> NDArray[np.float32]:
        (out, *_) = self._session.run(None, {self._input: _shaped(patch, self._rank, self._name)})
        return np.asarray(out, np.float32).reshape(-1)
