"""What the kernels that work in lanes (``lanes_fft.h``) have in common on Python's side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def twiddles(n: int) -> NDArray[np.float32]:
    """Twiddle factors of the radix-4 passes of a transform of ``n`` complex numbers, a power of two.

    Returns:
        For each pass, of length n, n/4, n/16 …: (length / 4, 3, 2) of w^p, w^2p, w^3p as real and imaginary part, all
        after one another.
    """
    passes = []
    while n >= 4:
        angle = -2.0 * np.pi * np.arange(n // 4)[:, None] * np.array([1.0, 2.0, 3.0]) / n
        passes.append(np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(-1))
        n //= 4
    return np.ascontiguousarray(np.concatenate([*passes, np.zeros(0)]), dtype=np.float32)
