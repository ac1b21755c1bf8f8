"""Points as InfluxDB line protocol: ``measurement,point=TAG value=1.5,quality=0i 1767225600000000000``.

The tag key is ``point`` because ``tag`` is a reserved word of InfluxQL. Every value is a float and every quality a
whole number, so that no field ever changes its type. A NaN or infinity has no form in the protocol: such a point goes
with its quality alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gwanje.historian.columns import Points

_ESCAPES = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\=", "\n": "\\ ", "\r": "\\ "})


def encode(points: Points, names: Sequence[str], measurement: str) -> list[str]:
    """One line for each point.

    Args:
        points: ``tag`` holds positions in ``names``.
        names: tag names.
        measurement: without signs of the protocol.
    """
    heads = {tag: f"{measurement},point={names[tag].translate(_ESCAPES)} " for tag in np.unique(points.tag).tolist()}
    rows = zip(
        points.tag.tolist(),
        points.value.tolist(),
        np.isfinite(points.value).tolist(),
        points.quality.tolist(),
        points.utc_ns.tolist(),
        strict=True,
    )
    return [
        f"{heads[tag]}value={value!r},quality={quality}i {utc_ns}"
        if finite
        else f"{heads[tag]}quality={quality}i {utc_ns}"
        for tag, value, finite, quality, utc_ns in rows
    ]
