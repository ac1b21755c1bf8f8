"""What judges patches in the chain: network, heads, and a site's shifts of their thresholds, as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import Glance
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import levelled
from gwanje.control.acoustic.head import Head, onset_features
from gwanje.control.acoustic.model import MODEL_SHA256, Activations, Yamnet

Floats = NDArray[np.float32]
Network = Callable[[Floats], Activations]
NO_SHIFT: Final = (0.0,) * len(CLASS_NAMES)


class Ears:
    """Network and heads.

    Args:
        network: patches to activations.
        head: trained heads.
        shift: (n_classes,) added to the thresholds; infinite for a class that is off.

    Attributes:
        head: as given.
        glance: margins of quick looks, see ``chain.Glance``; None when the heads were not trained for looks.
        median_patches: of the heads.
        identity: SHA-256 of network and heads, for what is told of an event.
    """

    def __init__(self, network: Network, head: Head, shift: tuple[float, ...] = NO_SHIFT) -> None:
        self._network, self.head = network, head
        self._shift = np.array(shift, dtype=np.float32)
        self.median_patches = head.median_patches
        self.glance: Glance | None = self._glance if np.isfinite(head.thresholds[1]).any() else None
        self.identity = {"network_sha256": MODEL_SHA256, "head_sha256": head.sha256}

    @classmethod
    def load(cls, shift: tuple[float, ...] = NO_SHIFT) -> Self:
        """The shipped network and heads.

        Raises:
            ModelError: a file is absent or altered.
        """
        head = Head.load()
        return cls(Yamnet(), head, shift)

    def __call__(self, patches: Floats) -> Floats:
        """Margins of (n, 96, 64) patches, (n, n_classes)."""
        return self.head.margins(self._network(levelled(patches))) - self._shift

    def _glance(self, patches: Floats, shapes: Floats, ages_ms: NDArray[np.int64], floors: Floats) -> Floats:
        onset = onset_features(patches, shapes, ages_ms, floors)
        return self.head.look_margins(self._network(levelled(patches)), onset) - self._shift
