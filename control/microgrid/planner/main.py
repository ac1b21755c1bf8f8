"""The part ``planner``: measures quarter hours, forecasts, plans once a minute, and shows what the plan says of now.

It commands nothing. What it shows are tags of its own that turn BAD by themselves when it dies: whoever follows them,
the control part, then does what it does without a planner. A solution runs in a thread of its own, so that a long one
delays neither the heart nor the last plan.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.files.family_files import FamilyFileError
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.planner import outlook, rolling
from gwanje.control.microgrid.planner.assemble import Measured, assemble
from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.clear_sky import clear_sky_w_m2
from gwanje.control.microgrid.planner.forecast import METHODS, ForecastParams
from gwanje.control.microgrid.planner.history import recorded_means
from gwanje.control.microgrid.planner.outlook import QUARTER_NS, DayScore
from gwanje.control.microgrid.planner.planning import PlanError, Planner, PlanOptions
from gwanje.control.microgrid.planner.problem import ProblemError
from gwanje.control.microgrid.planner.settings import FIGURES, FILE, OWNER, PlannerSettings, check_tags, read_settings
from gwanje.control.microgrid.planner.solve import best_solver
from gwanje.control.microgrid.tariff.local_time import QUARTER_S, WEEKDAY, civil, day_kinds, month_of
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.control.microgrid.tariff.tariff import Tariff, TariffError, Terms
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.city.run_dir import RunDirError, RunInfo
from gwanje.core.closed_loop.interface import Told
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.core.tags.store import StoreError, TagWriter

TURN_NS = 1_000_000_000
PEAKS_FILE = "planner-peaks.json"
PEAKS_BYTES_MAX = 16_384
MONTHS_MAX = 24
"""Months whose peaks are kept: twice of what a bill looks back at."""
SOURCES = {"default": 0.0, "shifted": 1.0, "plan": 2.0}
"""Values of ``planner.plan.source``."""
UNIT_W_M2 = 1_000.0
"""Reference of a clear noon: an index of PV is about its power."""
PARAMS = ForecastParams()
SOLVER_NICE = 10
"""Of the thread that solves, where the system has one for each thread."""
YOUNG_NS = QUARTER_NS
"""A run of this age has no quarter hour yet: its historian is not asked for one."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: a file of the site is wrong, or another process writes the tags.
    """
    settings, tariff = read_site(ctx)
    try:
        writer = ctx.store.writer(OWNER)
    except StoreError as error:
        raise PartError(str(error)) from error
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="plan", initializer=_yield_to_others) as worker:
        desk = Desk(ctx, settings, tariff, writer, worker)
        desk.remember()
        deadline = ctx.clock.mono_ns() + TURN_NS
        while ctx.clock.wait_until_mono_ns(deadline, ctx.stop_fd):
            desk.turn()
            deadline = max(deadline + TURN_NS, ctx.clock.mono_ns())
    writer.close()


def _yield_to_others() -> None:
    """A plan may come a second later; nothing else may come later for it."""
    with contextlib.suppress(OSError):  # forbidden in some containers: then it competes as an equal, once a minute
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, max(os.getpriority(os.PRIO_PROCESS, here), SOLVER_NICE))


def read_site(ctx: PartContext) -> tuple[PlannerSettings, Tariff]:
    """The site's planner and tariff.

    Raises:
        PartError: with every problem in one line.
    """
    try:
        settings = read_settings(ctx.site.root)
        check_tags(settings, ctx.tags)
        return settings, load_tariff(ctx.site.root, zone=ctx.site.timezone)
    except (ControlConfigError, ConfigErrors) as errors:
        raise PartError(f"{FILE}: " + "; ".join(str(errors).splitlines())) from None
    except FamilyFileError as error:
        raise PartError(str(error)) from None


def billed_peak_w(peaks_w: Mapping[int, float], month: int, terms: Terms) -> float:
    """Peak that a bill of this month charges in any case: of this month, of the counted ones before, and the least."""
    back = range(month - terms.months_back + 1, month)
    counted = [peaks_w.get(one, 0.0) for one in back if one % 12 + 1 in terms.counted_months]
    return max([peaks_w.get(month, 0.0), terms.contract_share_min * terms.contract_kw * 1e3, *counted])


@dataclass(frozen=True, slots=True)
class _Running:
    asked_s: float
    future: Future[rolling.Planned | rolling.NotPlanned]


class Desk:
    """The part's turns; see the module.

    Args:
        ctx: of the part.
        settings: of the site.
        tariff: of the site.
        writer: of the tags.
        worker: solves.
    """

    def __init__(
        self, ctx: PartContext, settings: PlannerSettings, tariff: Tariff, writer: TagWriter,
        worker: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._ctx, self._settings, self._tariff, self._writer, self._worker = ctx, settings, tariff, writer, worker
        self._publisher: Publisher = ctx.bus.publisher()
        general = settings.general
        self._planner = Planner(best_solver(), PlanOptions(general.limit_s, general.gap))
        self._terms = settings.forecasts()
        told = [f"{one.name}.{end}" for one in settings.battery for end in ("charge_w_max", "discharge_w_max")]
        self._reads = list(dict.fromkeys((*settings.reads(), *(name for name in told if name in ctx.tags))))
        self._read_ids = ctx.tags.indices(self._reads)
        self._writes = settings.writes()
        order = np.argsort(ctx.tags.indices(self._writes))
        self._write_ids, self._write_order = ctx.tags.indices(self._writes)[order], order
        self._quarters = outlook.begin_quarters(len(self._terms) + 1)
        self._series = {name: outlook.begin_series(PARAMS) for name in self._terms}
        self._sunny = {one.name for one in settings.source if one.kind == "pv"} - {
            name for name, terms in self._terms.items() if any(ctx.tags.get(tag).simulated for tag, _ in terms)
        }
        self._peaks_file = StateFile(ctx.state_dir / PEAKS_FILE, PEAKS_BYTES_MAX)
        self._peaks_w = self._load_peaks()
        self._state = rolling.RollingState()
        self._running: _Running | None = None
        self._asked_s = -np.inf
        self._solve_s = np.nan
        self._objective_krw = np.nan

    def remember(self) -> None:
        """Learn from what the historian has of the last days; without one, begin from nothing."""
        days = self._settings.general.history_days
        now = self._ctx.clock.utc_ns() // QUARTER_NS
        if days <= 0 or (self._ctx.site.fresh_history and self._young()):
            return
        tags = list(dict.fromkeys(tag for terms in self._terms.values() for tag, _ in terms))
        recorded = recorded_means(self._ctx.bus, tags, now - round(days * 96), now)
        for quarter in sorted({one for means in recorded.values() for one in means}):
            self._ctx.heartbeat()
            if self._ctx.stopping():
                return
            means = {tag: recorded.get(tag, {}).get(quarter, np.nan) for tag in tags}
            for name, mean in self._sums(means).items():
                self._learn(name, quarter, mean)

    def _sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """Series by name from values by tag; NaN where one of its tags has none."""
        return {name: sum(factor * values[tag] for tag, factor in terms) for name, terms in self._terms.items()}

    def _young(self) -> bool:
        try:
            begun_mono_ns = RunInfo.read(self._ctx.run_dir).started_mono_ns
        except RunDirError:
            return False
        return self._ctx.clock.mono_ns() - begun_mono_ns < YOUNG_NS

    def turn(self) -> None:
        """One second."""
        ctx = self._ctx
        ctx.heartbeat()
        now_ns, utc_ns = ctx.clock.mono_ns(), ctx.clock.utc_ns()
        now_s = now_ns * 1e-9
        snapshot = ctx.store.read_many(self._read_ids, now_ns)
        bad = (snapshot.quality & SEVERITY_MASK) >= Quality.BAD
        read = np.where(bad, np.nan, snapshot.value)
        values = dict(zip(self._reads, read.tolist(), strict=True))
        imports = values["grid.tie.import_w"]
        measured = np.array([*self._sums(values).values(), max(imports, 0.0)])
        self._quarters, closed = outlook.accumulate(self._quarters, measured, utc_ns, TURN_NS * 1e-9)
        for quarter, means in closed:
            for name, mean in zip(self._terms, means[:-1].tolist(), strict=True):
                self._learn(name, quarter, mean)
            self._note_peak(quarter, float(means[-1]))
        attempt = self._attempt(values, utc_ns, now_s)
        self._state, advice, told = rolling.step(self._state, attempt, now_s, self._settings.rolling)
        for one in told:
            self._tell(one)
        self._show(advice, now_ns, utc_ns)

    def _learn(self, name: str, quarter: int, mean: float) -> None:
        after, score = outlook.learn(
            self._series[name], quarter, mean, name, PARAMS, self._calendar, self._reference
        )
        self._series[name] = after
        if score is not None:
            self._tell_score(name, score)

    def _calendar(self, utc_ns: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        local = civil(utc_ns, self._ctx.site.timezone)
        free = day_kinds(local.day, self._tariff.terms.holidays) != WEEKDAY
        return local.second // QUARTER_S, np.asarray(free, np.int8)

    def _reference(self, name: str, utc_ns: npt.NDArray[np.int64]) -> Floats:
        """The clear sky for a real PV plant. A simulated one follows the sun of its measured day, not of the clock."""
        if name not in self._sunny:
            return np.ones(len(utc_ns))
        general = self._settings.general
        middle = utc_ns + QUARTER_NS // 2
        return clear_sky_w_m2(middle, general.latitude_rad, general.longitude_rad) / UNIT_W_M2

    def _attempt(
        self, values: Mapping[str, float], utc_ns: int, now_s: float
    ) -> rolling.Planned | rolling.NotPlanned | None:
        """What a solution that has ended gave; and ask for the next when it is time."""
        attempt = None
        if self._running is not None and self._running.future.done():
            attempt, self._running = self._running.future.result(), None
            self._solve_s = attempt.took_s
            if isinstance(attempt, rolling.Planned):
                self._objective_krw = attempt.plan.objective_krw
        if self._running is None and now_s >= self._asked_s + self._settings.general.every_s:
            self._asked_s = now_s
            self._running = _Running(now_s, self._worker.submit(self._solving(values, utc_ns, now_s)))
        return attempt

    def _solving(
        self, values: Mapping[str, float], utc_ns: int, now_s: float
    ) -> Callable[[], rolling.Planned | rolling.NotPlanned]:
        """What the worker is to do, with everything that it needs taken now."""
        quarter, n = utc_ns // QUARTER_NS, self._settings.general.steps
        forecasts = {
            name: outlook.ahead(self._series[name], quarter, n, now) for name, now in self._sums(values).items()
        }
        month = int(month_of(civil(np.array([utc_ns]), self._ctx.site.timezone).day)[0])
        measured = Measured(
            values, billed_peak_w(self._peaks_w, month, self._tariff.terms), float(self._quarters.sums[-1]) / 3_600.0,
            not values["grid.breaker.closed"] < 0.5,
        )  # fmt: skip
        clock = self._ctx.clock

        def solve() -> rolling.Planned | rolling.NotPlanned:
            try:
                problem = assemble(self._settings, measured, forecasts, self._tariff, utc_ns)
                plan = self._planner.plan(problem)
            except (ProblemError, TariffError) as error:
                return rolling.NotPlanned("bad_input", str(error), clock.mono_ns() * 1e-9 - now_s)
            except PlanError as error:
                return rolling.NotPlanned("no_plan", str(error), clock.mono_ns() * 1e-9 - now_s)
            return rolling.Planned(plan, now_s, clock.mono_ns() * 1e-9 - now_s)

        return solve

    def _show(self, advice: rolling.Advice, now_ns: int, utc_ns: int) -> None:
        """The planner's tags. A set-point that is withdrawn is BAD at once."""
        counters = self._state.counters
        setpoints = advice.setpoints
        figures = asdict(counters) | {
            "source": SOURCES[advice.source], "age_s": advice.age_s, "until_s": advice.expires_s,
            "solve_ms": self._solve_s * 1e3, "objective_krw": self._objective_krw,
            "import_w": setpoints.get("grid.import_w", np.nan) - setpoints.get("grid.export_w", np.nan),
            "peak_w": np.nan if self._state.last is None else self._state.last.plan.first("grid.peak_w"),
            "softened": sum(counters.softened.values()),
        }  # fmt: skip
        shown = [float(figures[one]) for one in FIGURES]
        shown += [setpoints.get(one, np.nan) for one in self._settings.outputs()]
        value = np.array(shown)[self._write_order]
        known = np.isfinite(value)
        quality = np.where(known, int(Quality.GOOD), int(Quality.BAD | Quality.STALE)).astype(np.uint16)
        value = np.where(known, value, 0.0)
        times = np.full(len(value), utc_ns, np.int64)
        self._writer.write(self._write_ids, value, quality, times, now_ns)
        self._publisher.scan(self._write_ids, value, quality, times)

    def _load_peaks(self) -> dict[int, float]:
        try:
            state = self._peaks_file.load() or {}
            return {int(month): float(peak_w) for month, peak_w in state.items()}
        except (OSError, ValueError, TypeError) as error:
            self._peaks_file.doubt()
            self._ctx.log.warning("the recorded peaks cannot be read: %s", error)
            return {}

    def _note_peak(self, quarter: int, mean_w: float) -> None:
        month = int(month_of(civil(np.array([quarter * QUARTER_NS]), self._ctx.site.timezone).day)[0])
        if not mean_w > self._peaks_w.get(month, 0.0):
            return
        self._peaks_w[month] = mean_w
        self._peaks_w = {one: self._peaks_w[one] for one in sorted(self._peaks_w)[-MONTHS_MAX:]}
        try:
            self._peaks_file.save({str(one): peak_w for one, peak_w in self._peaks_w.items()})
        except OSError as error:
            self._ctx.log.warning("the recorded peak cannot be kept: %s", error)

    def _tell(self, told: Told) -> None:
        clock = self._ctx.clock
        self._publisher.event(
            Event("control", OWNER, told.kind, clock.utc_ns(), clock.mono_ns(), told.ko, told.en)
        )

    def _tell_score(self, name: str, score: DayScore) -> None:
        """Once a day for each series: what its forecasts were worth beside the baselines."""
        clock = self._ctx.clock
        losses = dict(zip(METHODS, score.pinball.tolist(), strict=True))
        inside = float(score.inside[0])
        text = ", ".join(f"{method} {loss / 1e3:.2f} kW" for method, loss in losses.items())
        data = {f"{method}_w": loss for method, loss in losses.items()} | {"inside": inside, "n": score.n}
        self._publisher.event(
            Event(
                "control", name, "forecast_scored", clock.utc_ns(), clock.mono_ns(),
                f"예측 평가: {text}, 10–90 % 구간 적중 {100 * inside:.0f} %",
                f"forecast scored: {text}; inside the 10–90 % band {100 * inside:.0f} %", data=dict(data),
            )
        )  # fmt: skip
