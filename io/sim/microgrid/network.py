"""The buses and branches that a description stands for, in per unit and in the order that the kernel wants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gwanje.core.site.toml_reader import ConfigErrors, KeyPath, Problem
from gwanje.ext.radial import breadth_first
from gwanje.io.sim.microgrid.description import FILE, Description
from gwanje.io.sim.series import Floats

GRID_BUSES = ("utility", "tie", "city")
"""The utility behind its impedance, and the two sides of the connection's breaker."""


@dataclass(frozen=True, slots=True, eq=False)
class Buses:
    """A radial network.

    Attributes:
        names: (n,) of the buses, parents before children.
        parent: (n,) −1 for the first.
        r: (n,) per unit of the base.
        x: (n,) per unit of the base.
    """

    names: tuple[str, ...]
    parent: np.ndarray[tuple[int], np.dtype[np.int32]]
    r: Floats
    x: Floats

    def places(self, pattern: str) -> list[int]:
        """Buses of a name; ``name.*`` is all that begin with it.

        Raises:
            KeyError: there is none.
        """
        if pattern.endswith(".*"):
            found = [index for index, name in enumerate(self.names) if name.startswith(pattern[:-1])]
        else:
            found = [index for index, name in enumerate(self.names) if name == pattern]
        if not found:
            raise KeyError(pattern)
        return found


def build(told: Description) -> Buses:
    """Expand feeders and transformers.

    Raises:
        ConfigErrors: a transformer hangs on nothing, or a name is there twice.
    """
    names, parents, z = list(GRID_BUSES), ["", "utility", "tie"], [0j, _source(told), 0j]
    problems: list[Problem] = []
    ohm = told.nominal_v**2 / told.base_w
    for line in told.feeder:
        each = complex(line.r_ohm_per_km, line.x_ohm_per_km) * line.section_km / ohm
        for section in range(1, line.sections + 1):
            names.append(f"{line.name}.{section}")
            parents.append(f"{line.name}.{section - 1}" if section > 1 else "city")
            z.append(each)
    low_ohm = told.low_v**2 / told.base_w
    for place, one in enumerate(told.transformer):
        if one.at not in names:
            problems.append(_problem(("transformer", place, "at"), f"there is no bus {one.at!r}"))
        names.append(f"{one.name}.0")
        parents.append(one.at)
        z.append(_behind(one.short_circuit_pu * told.base_w / one.rated_va, one.x_over_r))
        each = complex(one.r_ohm_per_km, one.x_ohm_per_km) * one.section_km / low_ohm
        for number in range(one.sections):
            # several lines share the sections: line k has sections k, k + lines, …
            names.append(f"{one.name}.{number + 1}")
            parents.append(f"{one.name}.{number + 1 - one.lines}" if number >= one.lines else f"{one.name}.0")
            z.append(each)
    for name in {name for name in names if names.count(name) > 1}:
        problems.append(_problem(("feeder",), f"bus {name!r} is there twice"))
    if problems:
        raise ConfigErrors(problems)
    up = np.array([names.index(one) if one else -1 for one in parents], np.int32)
    order, _ = breadth_first(up)
    where = np.argsort(order)
    parent = np.where(up[order] < 0, -1, where[up[order]]).astype(np.int32)
    ordered = np.array(z)[order]
    return Buses(tuple(names[bus] for bus in order), parent, ordered.real.copy(), ordered.imag.copy())


def _source(told: Description) -> complex:
    return _behind(told.base_w / told.connection.short_circuit_va, told.connection.x_over_r)


def _behind(z: float, x_over_r: float) -> complex:
    r = z / math.hypot(1.0, x_over_r)
    return complex(r, r * x_over_r)


def _problem(path: KeyPath, reason: str) -> Problem:
    return Problem(FILE, 1, ".".join(str(part) for part in path), reason)
