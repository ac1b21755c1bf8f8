"""Typed stub of the SRP-PHAT kernel."""

import numpy as np
from numpy.typing import NDArray

class SrpPhat:
    """Streaming SRP-PHAT of many nodes with one array geometry; keeps what the next frame needs of each.

    Frame ``i`` covers the samples ``[i * hop, i * hop + n_window)`` of all microphones, counted from the last
    ``reset``.
    """

    n_nodes: int
    n_mics: int
    n_azimuths: int
    hop: int
    n_window: int
    lanes: int

    def __init__(
        self,
        n_nodes: int,
        n_mics: int,
        pairs: NDArray[np.int32],
        base_at: NDArray[np.int32],
        lag_at: NDArray[np.int32],
        taps: NDArray[np.float32],
        window: NDArray[np.float32],
        hop: int,
        first_bin: int,
        last_bin: int,
        excess: float = 0.0,
        smooth: float = 0.3,
        rise: float = 1.01,
        lanes: int | None = None,
    ) -> None:
        """Plan the frames.

        Args:
            n_nodes: nodes per call; multiples of the lanes use them all.
            n_mics: microphones of a node, 2…16.
            pairs: (n_pairs, 2), ``base_at``, ``lag_at`` and ``taps``: see ``gwanje.ext.steering.Steering``.
            base_at: (n_baselines + 1,).
            lag_at: (n_azimuths, n_baselines) samples.
            taps: (n_azimuths, n_baselines, 4).
            window: (n_window,) a power of two of 16 or more.
            hop: samples between frames, at most n_window.
            first_bin: first frequency bin that is listened to, 1 or more.
            last_bin: bin behind the last one, at most n_window / 2.
            excess: a bin begins to count at this many times the noise floor (power); 0: all bins count fully.
            smooth: share of a new frame in the smoothed power whose minima are the noise floor.
            rise: factor by which the noise floor may rise from frame to frame.
            lanes: 16, 8 or 4; by default the widest this processor has (8 for up to 8 nodes).

        Raises:
            ValueError: a shape or number outside these limits.
        """

    def process(
        self,
        samples: NDArray[np.int16],
        best: NDArray[np.int32],
        peak: NDArray[np.float32],
        mean: NDArray[np.float32],
        maps: NDArray[np.float32] | None = None,
    ) -> int:
        """Frames that end in these samples.

        Args:
            samples: (n_nodes, n_mics, n) int16, C order; any n.
            best: OUT (n_nodes, n_frames) int32, index of the azimuth with the strongest response.
            peak: OUT (n_nodes, n_frames) float32, that response: near 1 for a lone plane wave, 0 in silence.
            mean: OUT (n_nodes, n_frames) float32, mean over all azimuths.
            maps: OUT (n_nodes, n_frames, n_azimuths) float32, all responses, where they are wanted.

        Returns:
            How many frames, as ``frames_after`` said.

        Raises:
            ValueError: a shape that does not fit.
        """

    def frames_after(self, n_samples: int) -> int:
        """How many frames ``process`` would give for ``n_samples`` more samples."""

    def reset(self) -> None:
        """Forget the samples held back for the next frame, and the noise floors."""

def refine(
    cross: NDArray[np.complex128],
    delay_s: NDArray[np.float64],
    omega: float,
    omega_step: float,
    x: float,
    y: float,
    step_max: float = 0.05,
) -> tuple[float, float, float]:
    """Climb to the nearest maximum of Σ Re(cross · exp(iω delay_s·(x, y))).

    Args:
        cross: (n_baselines, n_bins) weighted cross spectra X_j conj X_i, C order.
        delay_s: (n_baselines, 2) seconds of delay for each unit of (x, y): the baseline over the speed of sound.
        omega: angular frequency of the first bin, rad/s.
        omega_step: between two bins.
        x: start, right-hand part of the horizontal part of the unit vector towards the source.
        y: start, its forward part.
        step_max: longest step.

    Returns:
        x, y and the response there. The pair may be longer than 1 when the delays do not fit a plane wave.

    Raises:
        ValueError: shapes that do not fit, or a frequency that is not positive.
    """
