"""Plain sound in numpy, many nodes at once: G.711 by table, L16, and 8 kHz made 16 kHz. Pure.

Sources: ITU-T G.711 (tables 1a and 2a), RFC 3551 §4.5.11 (L16 is big-endian).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

TAPS = 16
"""Of the half-band interpolator: images of what lies below 3.2 kHz are 48 dB down and more."""
DELAY_NS = 937_500
"""Seven and a half samples of 8 kHz: so far behind its newest input is the newest output of :class:`Doubler`."""
_KAISER = 4.0


def mulaw_table() -> Samples:
    """(256,) what each µ-law code means."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def alaw_table() -> Samples:
    """(256,) what each A-law code means."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = (mantissa << 4) + 8
    magnitude = np.where(exponent > 0, (magnitude + 0x100) << np.maximum(exponent - 1, 0), magnitude)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def l16(payload: bytes) -> Samples:
    """Samples of any number of L16 payloads."""
    return np.frombuffer(payload, ">i2").astype(np.int16)


class Doubler:
    """8 kHz → 16 kHz for many nodes, each a stream of its own: every sample, and one between each two.

    Args:
        n_nodes: how many.
    """

    def __init__(self, n_nodes: int) -> None:
        self._past = np.zeros((n_nodes, TAPS - 1), np.float32)
        at = np.arange(TAPS) - (TAPS - 1) / 2.0
        weights = np.sinc(at) * np.kaiser(TAPS, _KAISER)
        half: npt.NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)[: TAPS // 2]
        self._half = half

    def forget(self, node_index: int) -> None:
        """A node's stream begins anew."""
        self._past[node_index] = 0.0

    def double(self, rows: Samples, nodes: npt.NDArray[np.intp]) -> Samples:
        """Go on.

        Args:
            rows: (k, n) samples at 8 kHz.
            nodes: (k,) whose they are, each once.

        Returns:
            (k, 2 * n) samples at 16 kHz.
        """
        n = rows.shape[1]
        line = np.concatenate([self._past[nodes], rows.astype(np.float32)], axis=1)
        self._past[nodes] = line[:, n:]
        between = np.zeros(rows.shape, np.float32)
        pair = np.empty(rows.shape, np.float32)
        for tap, weight in enumerate(self._half):
            last = TAPS - 1 - tap
            np.add(line[:, tap : tap + n], line[:, last : last + n], out=pair)
            pair *= weight
            between += pair
        np.rint(between, out=between)
        np.clip(between, -32_768.0, 32_767.0, out=between)
        doubled = np.empty((len(rows), 2 * n), np.int16)
        middle = TAPS // 2 - 1
        doubled[:, 0::2] = line[:, middle : middle + n]
        doubled[:, 1::2] = between
        return doubled
