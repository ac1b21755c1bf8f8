"""From a problem to a plan: ``plan(problem)`` once, or a :class:`Planner` that keeps its programmes between solutions.

>>> import numpy as np
>>> from gwanje.control.microgrid.planner.assets import Battery, Genset, Grid, Load, Renewable
>>> hours = np.ones(4)                                      # four steps of an hour
>>> problem = Problem(
...     step_h=hours,
...     grid=Grid(import_w_max=50e3, export_w_max=0.0, price_krw_per_kwh=np.array([80.0, 80.0, 250.0, 250.0]),
...               available=np.array([1.0, 1.0, 1.0, 0.0])),            # an outage in the last hour, known
...     loads=(Load("homes", load_w=40e3, unserved_krw_per_kwh=10_000.0),),
...     renewables=(Renewable("pv", available_w=np.array([0.0, 10e3, 20e3, 0.0])),),
...     batteries=(Battery("ess", energy_wh=40e3, charge_w_max=20e3, discharge_w_max=20e3, soc=0.5),),
...     gensets=(Genset("diesel", generation_w_max=60e3, generation_w_min=18e3, generation_krw_per_kwh=400.0),),
... )
>>> made = plan(problem)
>>> made.series["diesel.on"]                                # needed in the outage, and at its minimum or above
array([0., 0., 0., 1.])
>>> bool(made.series["homes.unserved_w"].max() < 1e-3), made.softened
(True, ())
>>> round(float(made.series["ess.energy_wh"][1]) / 1e3)     # kWh: the battery is full before energy is dear
38
>>> made.first("grid.import_w") >= 20e3                     # what to do now
True

Others' currencies go into the fields ``…_krw…`` as they are; the objective then is in that currency. A price of lost
load is ``Load.unserved_krw_per_kwh``, of over-generation ``Problem.overgeneration_krw_per_kwh`` and
``Renewable.curtailment_krw_per_kwh``, of a battery's cycling ``Battery.charge_krw_per_kwh`` and
``discharge_krw_per_kwh`` (at its terminals), of CO2 ``Problem.carbon_krw_per_kg`` with ``carbon_kg_per_kwh`` of
grid and gensets; what is known or expected of outages is ``Grid.available``.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.build import Exclusion, Program, Shape, shape_of
from gwanje.control.microgrid.planner.plan import Plan, softenings
from gwanje.control.microgrid.planner.problem import Problem
from gwanje.control.microgrid.planner.solve import Highs, Integrality, Solution, Solver, Status

PROGRAMS_MAX = 8
"""Shapes that are kept: a horizon that shortens, an asset that comes and goes, each with and without binaries."""
AT_ONCE_KW = 1e-3
"""Less in both directions at once is a solver's tolerance."""
WHOLE = 1e-6
ROUNDS_MAX = 4
"""Solutions with more and more binaries before all of them are asked for."""
COARSE_GAP = 1e-4
"""From such a gap on, patterns of on and off are tried before a search over binaries, which takes ten times as long."""
ON_SHARES = (0.3, 0.1, 1e-3, 0.5)
"""Of its most, what a genset gives in the relaxed solution to be tried as on; the likeliest first."""
BRIDGED = 4
"""Steps off between two runs that are tried as one, and steps of a run that are tried as none."""


class PlanError(Exception):
    """No plan was found; the text says why."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a plan is sought.

    Attributes:
        limit_s: longest time of one solution.
        gap: relative gap at which a search over binaries may end.
    """

    limit_s: float = 10.0
    gap: float = 1e-6


class Planner:
    """Plans problems, and keeps the programmes of the last shapes.

    Args:
        solver: of the linear programmes; HiGHS when not given. Binaries are always HiGHS's.
        options: limits.
    """

    def __init__(self, solver: Solver | None = None, options: PlanOptions | None = None) -> None:
        self._highs = Highs()
        self._solver = solver if solver is not None else self._highs
        self._options = options if options is not None else PlanOptions()
        self._programs: OrderedDict[Shape, Program] = OrderedDict()

    def program(self, problem: Problem, exclusive: bool = False) -> Program:
        """The filled programme of a problem."""
        shape = shape_of(problem, exclusive)
        program = self._programs.pop(shape, None)
        if program is None:
            program = Program(problem, exclusive)
        self._programs[shape] = program
        while len(self._programs) > PROGRAMS_MAX:
            self._programs.popitem(last=False)
        program.fill(problem)
        return program

    def plan(self, problem: Problem) -> Plan:
        """The cheapest plan.

        Raises:
            PlanError: the solver found none in time. A well-formed problem always has one: whatever cannot be served
                has a price.
        """
        program = self.program(problem)
        relaxed = _checked(self._solver.solve(program, self._options.limit_s))
        solution, integer = self._committed(program, relaxed)
        assert solution.x is not None
        exclusions = program.exclusions(problem)
        x = _netted(program, exclusions, solution.x)
        if any(_at_once(one, x).any() for one in exclusions):
            program, solution = self._apart(problem, exclusions, x)
            assert solution.x is not None
            x, integer = solution.x, True
        series = program.read(x, problem)
        v = program.vectors
        return Plan(
            problem.start_utc_ns, problem.step_h, float(v.cost @ x) + v.offset, series, softenings(problem, series),
            solution.solver, integer, solution.gap,
        )  # fmt: skip

    def _committed(self, program: Program, relaxed: Solution) -> tuple[Solution, bool]:
        """A solution whose gensets are off or at their minimum at least.

        Often the relaxed one is, once on and off are read from it; its price then proves that nothing is better.
        """
        pairs = program.commitments()
        if not pairs:
            return relaxed, False
        rounded = _rounded(program, pairs, relaxed, self._options.gap)
        if rounded is None and self._options.gap >= COARSE_GAP:
            rounded = self._tried(program, pairs, relaxed)
        if rounded is not None:
            return rounded, False
        integrality = np.zeros(program.n_columns, np.uint8)
        for _generation, on in pairs:
            integrality[on] = 1
        return self._calmed(program, pairs, _checked(self._integer(program, integrality))), True

    def _calmed(self, program: Program, pairs: Sequence[tuple[slice, slice]], found: Solution) -> Solution:
        """The same on and off once more by the solver of linear programmes.

        Of many equal plans a search over binaries gives a corner, in which machines and batteries swing from step to
        step; an interior point lies between them.
        """
        if self._solver is self._highs:
            return found
        assert found.x is not None
        calm = self._held(program, pairs, [np.round(found.x[on]) for _generation, on in pairs])
        same = calm.status is Status.OPTIMAL and calm.objective <= found.objective + WHOLE * abs(found.objective)
        return replace(calm, gap=found.gap) if same else found

    def _held(
        self, program: Program, pairs: Sequence[tuple[slice, slice]], pattern: Sequence[Floats]
    ) -> Solution:
        """The linear programme with on and off given."""
        v = program.vectors
        lower, upper = v.lower.copy(), v.upper.copy()
        for (_generation, on), chosen in zip(pairs, pattern, strict=True):
            v.lower[on] = v.upper[on] = chosen
        found = self._solver.solve(program, self._options.limit_s)
        v.lower[:], v.upper[:] = lower, upper
        return found

    def _tried(
        self, program: Program, pairs: Sequence[tuple[slice, slice]], relaxed: Solution
    ) -> Solution | None:
        """The first pattern of on and off, of some read from the relaxed solution, that is proven good enough."""
        assert relaxed.x is not None
        enough = relaxed.objective + self._options.gap * max(1.0, abs(relaxed.objective))
        for pattern in _patterns(pairs, relaxed.x, program.vectors.upper):
            found = self._held(program, pairs, pattern)
            if found.status is Status.OPTIMAL and found.objective <= enough:
                apart = (found.objective - relaxed.objective) / max(1.0, abs(relaxed.objective))
                return Solution(found.status, found.x, found.objective, max(apart, 0.0), found.solver)
        return None

    def _apart(
        self, problem: Problem, exclusions: Sequence[Exclusion], x: Floats
    ) -> tuple[Program, Solution]:
        """A solution that uses no two opposite directions at once: binaries where they were, then where they come."""
        program = self.program(problem, exclusive=True)
        integrality = np.zeros(program.n_columns, np.uint8)
        for _generation, on in program.commitments():
            integrality[on] = 1
        for turn in range(ROUNDS_MAX + 1):
            everywhere = turn == ROUNDS_MAX
            for seen, now in zip(exclusions, program.exclusions(problem), strict=True):
                integrality[now.chosen] |= (_at_once(seen, x) | everywhere).astype(np.uint8)
            solution = _checked(self._integer(program, integrality))
            assert solution.x is not None
            x, exclusions = solution.x, program.exclusions(problem)
            if not any(_at_once(one, x).any() for one in exclusions):
                break
        return program, solution

    def _integer(self, program: Program, integrality: Integrality) -> Solution:
        return self._highs.solve_integer(program, integrality, self._options.limit_s, self._options.gap)


def plan(problem: Problem, options: PlanOptions | None = None) -> Plan:
    """The cheapest plan of one problem; see :class:`Planner`."""
    return Planner(options=options).plan(problem)


def _checked(solution: Solution) -> Solution:
    if solution.x is None or solution.status not in (Status.OPTIMAL, Status.LIMIT):
        raise PlanError(f"{solution.solver} found no plan: {solution.status}")
    return solution


def _at_once(one: Exclusion, x: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(np.minimum(x[one.one], x[one.other]) > AT_ONCE_KW)


def _netted(program: Program, exclusions: Sequence[Exclusion], x: Floats) -> Floats:
    """Import and export at once, taken off each other where that costs nothing; batteries lose energy by it."""
    for one in exclusions:
        both = np.minimum(x[one.one], x[one.other])
        cost = program.vectors.cost[one.one] + program.vectors.cost[one.other]
        both = np.where(cost >= 0, both, 0.0)
        if one.subject == "grid" and both.max() > 0:
            x = x.copy()
            x[one.one] -= both
            x[one.other] -= both
    return x


def _patterns(pairs: Sequence[tuple[slice, slice]], x: Floats, upper: Floats) -> list[list[Floats]]:
    """On and off of each genset, to be tried in this order; each pattern once."""
    found: dict[bytes, list[Floats]] = {}

    def add(pattern: list[Floats]) -> None:
        found.setdefault(b"".join(one.tobytes() for one in pattern), pattern)

    for share in ON_SHARES:
        raw = [
            ((x[generation] > share * np.maximum(upper[generation], WHOLE)) & (upper[on] > 0)).astype(float)
            for generation, on in pairs
        ]
        add(raw)
        add([_bridged(one) * upper[on] for one, (_generation, on) in zip(raw, pairs, strict=True)])
    add([np.zeros(on.stop - on.start) for _generation, on in pairs])
    return list(found.values())


def _bridged(on: Floats) -> Floats:
    """With short pauses between runs filled, then short runs taken out."""
    for value in (0.0, 1.0):
        on = on.copy()
        edges = np.concatenate([[0], np.flatnonzero(np.diff(on)) + 1, [len(on)]])
        for begin, end in itertools.pairwise(edges):
            inside = begin > 0 and end < len(on)  # what was before, or comes after, is not known
            if inside and on[begin] == value and end - begin <= BRIDGED:
                on[begin:end] = 1.0 - value
    return on


def _rounded(
    program: Program, pairs: Sequence[tuple[slice, slice]], relaxed: Solution, gap: float
) -> Solution | None:
    """The relaxed solution with on and off where generation needs them; ``None`` where that is no optimum."""
    assert relaxed.x is not None
    v, x = program.vectors, relaxed.x.copy()
    for generation, on in pairs:
        x[on] = (x[generation] > WHOLE * np.maximum(v.upper[generation], 1.0)).astype(float)
        x[generation] *= x[on]
    rows = program.matrix @ x
    slack = WHOLE * (1.0 + np.abs(rows))
    if (rows < v.row_lower - slack).any() or (rows > v.row_upper + slack).any():
        return None
    objective = float(v.cost @ x) + v.offset
    apart = (objective - relaxed.objective) / max(1.0, abs(relaxed.objective))
    return Solution(relaxed.status, x, objective, max(apart, 0.0), relaxed.solver) if apart <= gap else None
