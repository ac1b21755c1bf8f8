"""YAMNet (int8) as a feature extractor: log-mel patches in, embeddings and AudioSet scores out.

The published model gives 521 scores only. Its 1024 pooled activations are an inner tensor, so the model is extended
while it is loaded: the flatbuffer's list of outputs is replaced by a longer one appended behind the file, which costs
nothing per patch (keeping all inner tensors would turn the fast kernels' buffers into copies).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import N_MELS, PATCH_FRAMES

MODEL_PATH: Final = Path(__file__).parent / "models" / "yamnet_spectra_in.tflite"
MODEL_SHA256: Final = "0a266465c46718f3fcc4137366be82882a8c93bfcc4f0278581a11d11dddcdf9"
EMBEDDING_TENSOR: Final = 90
N_EMBEDDING: Final = 1024
N_SCORES: Final = 521


class ModelError(Exception):
    """A model file is absent, altered or not what this program was written for."""


def with_outputs(model: bytes, extra: tuple[int, ...]) -> bytes:
    """The same TensorFlow Lite model with more of its tensors as outputs.

    Args:
        model: a flatbuffer of schema ``TFL3`` with one subgraph.
        extra: indices of tensors to append to the outputs.

    Raises:
        ModelError: not such a flatbuffer.
    """
    if len(model) < 64 or model[4:8] != b"TFL3":
        raise ModelError("not a TensorFlow Lite model")

    def word(at: int) -> int:
        return int(struct.unpack_from("<I", model, at)[0])

    def field(table: int, slot: int) -> int:
        """Position of a table's field (flatbuffers: the vtable lies a signed offset before the table)."""
        vtable = table - int(struct.unpack_from("<i", model, table)[0])
        size, offset = struct.unpack_from("<H", model, vtable)[0], 4 + 2 * slot
        place = struct.unpack_from("<H", model, vtable + offset)[0] if offset < size else 0
        if place == 0:
            raise ModelError("model without subgraph or outputs")
        return table + int(place)

    try:
        subgraphs = field(word(0), 2)
        vector = subgraphs + word(subgraphs)
        if word(vector) != 1:
            raise ModelError(f"model with {word(vector)} subgraphs, expected one")
        subgraph = vector + 4 + word(vector + 4)
        outputs = field(subgraph, 2)
        old = outputs + word(outputs)
        indices = struct.unpack_from(f"<{word(old)}i", model, old + 4) + extra
    except struct.error as error:
        raise ModelError(f"model is cut short: {error}") from None
    padded = model + b"\0" * (-len(model) % 4)
    longer = bytearray(padded + struct.pack(f"<I{len(indices)}i", len(indices), *indices))
    struct.pack_into("<I", longer, outputs, len(padded) - outputs)
    return bytes(longer)


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the library's own greeting on the terminal; what goes wrong is raised, not only printed."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@dataclass(frozen=True, slots=True)
class Activations:
    """What the network says about a batch of patches.

    Attributes:
        embedding: (n, 1024) float32, 0…6, the pooled activations.
        scores: (n, 521) float32, 0…1, AudioSet classes in the order of ``yamnet_class_map.csv``.
    """

    embedding: NDArray[np.float32]
    scores: NDArray[np.float32]


class Yamnet:
    """One interpreter on one thread."""

    def __init__(self, path: Path = MODEL_PATH, sha256: str = MODEL_SHA256) -> None:
        """Load and check the model.

        Raises:
            ModelError: absent, altered, unreadable, or the inference library is missing.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path.name}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError(f"{path.name}: the file was altered (its SHA-256 is not the expected one)")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ModelError(f"ai-edge-litert is not installed: {error}") from None
        try:
            extended = with_outputs(content, (EMBEDDING_TENSOR,))
            with _hushed():
                self._interpreter: Any = Interpreter(model_content=extended, num_threads=1)
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path.name}: {error}") from None
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        scores, embedding = self._interpreter.get_output_details()
        self._scores, self._embedding = int(scores["index"]), int(embedding["index"])
        self._scale, self._zero = embedding["quantization"]

    def __call__(self, patches: NDArray[np.float32]) -> Activations:
        """Run the network.

        Args:
            patches: (n, 96, 64) float32 log-mel.
        """
        n = len(patches)
        embedding = np.empty((n, N_EMBEDDING), dtype=np.int8)
        scores = np.empty((n, N_SCORES), dtype=np.float32)
        for i in range(n):
            self._interpreter.set_tensor(self._input, patches[i].reshape(1, PATCH_FRAMES, N_MELS))
            self._interpreter.invoke()
            embedding[i] = self._interpreter.get_tensor(self._embedding).reshape(-1)
            scores[i] = self._interpreter.get_tensor(self._scores)[0]
        return Activations((embedding.astype(np.float32) - np.float32(self._zero)) * np.float32(self._scale), scores)
