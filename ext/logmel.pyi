"""Typed stub of the log-mel kernel."""

import numpy as np
from numpy.typing import NDArray

def widest_lanes() -> int:
    """Lanes of the widest instruction set this processor has: 16 (AVX-512), 8 (AVX2 and FMA) or 4."""

class LogMel:
    """Streaming log-mel of many channels; keeps what the next frame needs of each.

    Frame ``i`` of a channel covers its samples ``[i * hop, i * hop + n_window)``, counted from the last ``reset``.
    """

    n_channels: int
    n_mels: int
    hop: int
    n_window: int
    lanes: int

    def __init__(
        self,
        n_channels: int,
        weights: NDArray[np.float32],
        window: NDArray[np.float32],
        hop: int,
        offset: float,
        lanes: int | None = None,
    ) -> None:
        """Plan the transform.

        Args:
            n_channels: channels per call; multiples of 8 fill the lanes.
            weights: (n_fft / 2 + 1, n_mels) filter bank, C order; n_fft a power of two, 16 or more;
                n_mels at most n_fft.
            window: (n_window,) with 3/4 n_fft ≤ n_window ≤ n_fft.
            hop: samples between frames, at most n_window.
            offset: added to each band before the logarithm, positive.
            lanes: 16, 8 or 4; by default the widest this processor has.

        Raises:
            ValueError: a shape or number outside these limits.
        """

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Log-mel frames that end in these samples.

        Args:
            samples: (n_channels, n) int16, C order; full scale counts as 1.0. Any n.

        Returns:
            (n_channels, n_frames, n_mels) natural logarithms.

        Raises:
            ValueError: another number of channels.
        """

    def frames_after(self, n_samples: int) -> int:
        """How many frames ``process`` would give for ``n_samples`` more samples."""

    def reset(self) -> None:
        """Forget the samples held back for the next frame."""
