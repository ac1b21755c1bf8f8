"""``gwanje up``: the whole city, one line a second, and a sum at the end."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gwanje.core.audio_ring import AudioRingError, require_ram
from gwanje.core.authority.principal import Role, at_least
from gwanje.core.authority.users import UsersError, UsersFile
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import RunOptions
from gwanje.core.city.run_dir import RunDir, RunDirError, default_data_base, default_run_dir, new_data_dir
from gwanje.core.city.supervisor import Supervisor, prepare_processes
from gwanje.core.clock import NS_PER_S, Clock, SystemClock, utc_text
from gwanje.core.site.check import check_site
from gwanje.core.site.config import Site
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import TagStore

FIRST_PARTS = (
    "sim", "core", "field", "control", "historian", "microgrid", "simsound", "media", "broker", "simcity",
    "charging", "street", "signals", "meters", "heat", "cameras", "acoustic", "query", "remote", "hmi", "ledger",
    "planner", "estimation",
)  # fmt: skip
"""Starting order: what the first live value needs comes first, the heavy imports last."""
MAX_EVENTS_KEPT = 1_000
"""Of the final line; a run with more says how many there were."""


class Watch:
    """Reads what the one-line report and the final sum need."""

    def __init__(self, site: Site, store: TagStore, clock: Clock, bus: Bus, started_mono_ns: int) -> None:
        self.site, self.store, self.clock, self.started_mono_ns = site, store, clock, started_mono_ns
        self._subscriber = bus.subscriber(["event"])
        self.events: list[dict[str, Any]] = []
        self.n_events = 0
        self.first_value_s = math.nan
        self._stolen_ms = stolen_ms()

    def value(self, name: str, fresh: bool = True) -> float:
        """A tag's value; NaN when it is bad, or when the site has no such tag."""
        if name not in self.site.tags:
            return math.nan
        sample = self.store.read(self.site.tags.index(name), self.clock.mono_ns() if fresh else 0)
        return math.nan if is_bad(sample.quality) else sample.value

    def hear(self) -> None:
        """Take the events that arrived."""
        while (message := self._subscriber.receive()) is not None:
            if isinstance(message, Event) and message.kind == "acoustic":
                self.n_events += 1
                if len(self.events) < MAX_EVENTS_KEPT:
                    self.events.append(
                        {
                            "class": message.class_name,
                            "node": message.source,
                            "time": utc_text(message.utc_ns),
                            "confidence": round(message.confidence, 3),
                            "latency_s": round(message.latency_s, 3),
                        }
                    )

    def first_value_seen(self) -> bool:
        """Note when the first measured value was there; whether it was."""
        if math.isnan(self.first_value_s) and not math.isnan(self.value("grid.tie.import_w")):
            self.first_value_s = (self.clock.mono_ns() - self.started_mono_ns) / NS_PER_S
        return not math.isnan(self.first_value_s)

    def summary(self) -> dict[str, Any]:
        """What the run amounts to."""
        fifo = self.value("control.loop.fifo", fresh=False)
        return {
            "seconds": round((self.clock.mono_ns() - self.started_mono_ns) / NS_PER_S, 1),
            "first_value_s": _rounded(self.first_value_s, 2),
            "tie_line_rms_pct": _rounded(self.value("control.tie.rms_pct", fresh=False), 3),
            "ticks": _count(self.value("control.loop.ticks", fresh=False)),
            "ticks_lost": _count(self.value("control.loop.ticks_lost", fresh=False)),
            "late_p999_us": _rounded(self.value("control.loop.late_p999_us", fresh=False), 1),
            "fifo": None if math.isnan(fifo) else bool(fifo),
            "host_steal_ms": None if math.isnan(self._stolen_ms) else round(stolen_ms() - self._stolen_ms),
            "points_recorded": _count(self.value("system.historian.points_recorded", fresh=False)),
            "points_acknowledged": _count(self.value("system.historian.points_acknowledged", fresh=False)),
            "restarts": _count(self.value("system.part_city.restarts", fresh=False)),
            "loop_restarts": _count(self.value("system.part_control.restarts", fresh=False)),
            "cpu_pct": _rounded(self.value("system.part_city.cpu_pct", fresh=False), 1),
            "n_events": self.n_events,
            "events": self.events,
        }


def stolen_ms() -> float:
    """Time that the host of a virtual machine kept from us since boot, over all processors; NaN when nobody says.

    No scheduling class of ours can help against it: a tick that is lost while this grows was lost by the host.
    """
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split(None, 10)
        return float(words[8]) * 1000 / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return math.nan


def _rounded(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)


def _count(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def up(chosen: argparse.Namespace) -> int:
    """Start, report, stop."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    clock = SystemClock()
    began_mono_ns = clock.mono_ns()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for the parts: idle BLAS threads spin on cores that the loop needs
    prepare_processes(chosen.site)
    site = check_site(chosen.site, chosen.data)
    run = RunDir(chosen.run_dir or default_run_dir(site.id))
    try:
        if site.nodes:
            _check_memory(run.path)
        base = chosen.data or default_data_base(chosen.site)
        data_dir = new_data_dir(Path(base).resolve(), site.id, site.fresh_history, clock.utc_ns())
        options = RunOptions(chosen.speed, chosen.seed, chosen.start, chosen.lang, str(data_dir))
        parts = tuple(part for part in FIRST_PARTS if part in site.parts and not (part == "hmi" and chosen.no_hmi))
        log = logging.getLogger("gwanje")
        bus = Bus(run.path, "supervisor", clock, site.tags.n, parts)
        supervisor = Supervisor(site, options, run, bus, parts, log)
        supervisor.started_mono_ns = began_mono_ns
        supervisor.take_signals()
    except BaseException:
        run.remove()
        raise
    watch = Watch(site, supervisor.store, clock, bus, began_mono_ns)
    report = _json_line if chosen.json else _text_line
    if not chosen.json:
        _say_where(site, run.path, data_dir)
    _say_operators(options.security_dir, log)
    try:
        supervisor.start()
        deadline = began_mono_ns + int(chosen.for_s * NS_PER_S) if chosen.for_s else None
        supervisor.run_until(deadline, _each_second(watch, report), watch.first_value_seen)
    finally:
        not_running = supervisor.not_running()
        supervisor.stop()
        watch.hear()
        summary = {**watch.summary(), "not_running": not_running}
        bus.close()
        supervisor.clean()
    if chosen.json:
        print(json.dumps(summary, ensure_ascii=False), flush=True)
    else:
        _say_sum(summary, data_dir)
    return 0 if summary["points_recorded"] == summary["points_acknowledged"] and not not_running else 1


def _check_memory(run_dir: Path) -> None:
    """Refuse at once what the microphones' part would refuse again and again: sound on a disk."""
    try:
        require_ram(run_dir)
    except AudioRingError as error:
        raise RunDirError(f"{error}; give --run a folder on /dev/shm") from None


def _each_second(watch: Watch, report: Callable[[Watch], None]) -> Callable[[], None]:
    def once() -> None:
        watch.hear()
        report(watch)

    return once


def _elapsed(watch: Watch) -> float:
    return (watch.clock.mono_ns() - watch.started_mono_ns) / NS_PER_S


FREQUENCY_TAG = "grid.tie.frequency_hz"
CITY_FREQUENCY_TAG, MODE_TAG = "microgrid.state.frequency_hz", "microgrid.state.mode"
"""Of a city that can be an island: its own frequency is not the utility's then."""
LINE_TAGS = {
    "tie_import_w": "grid.tie.import_w",
    "tie_setpoint_w": "control.tie.import_setpoint_w",
    "ess1_discharge_w": "jincheon.ess1.discharge_w",
    "ess2_discharge_w": "eumseong.ess2.discharge_w",
    "frequency_hz": FREQUENCY_TAG,
    "ticks": "control.loop.ticks",
    "ticks_lost": "control.loop.ticks_lost",
    "points_acknowledged": "system.historian.points_acknowledged",
    "cpu_pct": "system.part_city.cpu_pct",
}
GENERATION_TAGS = ("jincheon.pv_roof.generation_w", "eumseong.pv_float.generation_w", "eumseong.wind1.generation_w")


def _values(watch: Watch) -> dict[str, float | None]:
    values = {key: _rounded(watch.value(name), 3) for key, name in LINE_TAGS.items()}
    own_hz = watch.value(CITY_FREQUENCY_TAG)
    if math.isfinite(own_hz):
        values["frequency_hz"] = _rounded(own_hz, 3)
    values["renewable_w"] = _rounded(sum(watch.value(name) for name in GENERATION_TAGS), 1)
    return values


def _json_line(watch: Watch) -> None:
    line = {"t_s": round(_elapsed(watch), 1), **_values(watch), "n_events": watch.n_events}
    print(json.dumps(line), flush=True)


def _text_line(watch: Watch) -> None:
    values = _values(watch)

    def kw(key: str) -> str:
        value = values[key]
        return "   –" if value is None else f"{value / 1000:+5.0f}"

    def count(key: str) -> str:
        value = values[key]
        return "–" if value is None else f"{int(value):,}".replace(",", " ")

    newest = watch.events[-1] if watch.events else None
    heard = f" (last: {newest['class']} at {newest['node']})" if newest else ""
    frequency = values["frequency_hz"]
    print(
        f"{_elapsed(watch):6.0f} s  tie {kw('tie_import_w')} kW (set {kw('tie_setpoint_w')})  "
        f"PV+wind {kw('renewable_w')}  ESS {kw('ess1_discharge_w')} {kw('ess2_discharge_w')}  "
        f"{'–' if frequency is None else f'{frequency:.3f}'} Hz{_mode(watch)}  "
        f"ticks {count('ticks')} lost {count('ticks_lost')}  points {count('points_acknowledged')}  "
        f"cpu {count('cpu_pct')} %  sounds {watch.n_events}{heard}",
        flush=True,
    )


def _mode(watch: Watch) -> str:
    """What the microgrid is, where it is not simply connected to the utility."""
    mode = watch.value(MODE_TAG)
    if not mode > 0.0:
        return ""
    return f" ({watch.site.tags.get(MODE_TAG).states[int(mode)][1]})"


def _say_where(site: Site, run_dir: Path, data_dir: Path) -> None:
    simulated = sum(device.simulated for device in site.devices) + sum(node.simulated for node in site.nodes)
    total = len(site.devices) + len(site.nodes)
    print(f"{site.name_ko} · {site.name_en}")
    print(f"  {total} devices and microphones, {simulated} of them SIMULATED; {len(site.tags)} tags")
    print(f"  history, journal and state: {data_dir}")
    print(f"  sockets and shared memory:  {run_dir}")
    print("  in another terminal: gwanje hmi · gwanje tags 'grid.*' · gwanje query \"select count(*) from points\"")
    print("  stop with Ctrl-C", flush=True)


def _say_operators(security_dir: Path, log: logging.Logger) -> None:
    """One line when there is nobody who could operate the city, or nobody can tell."""
    try:
        users = UsersFile(security_dir).load()
    except UsersError as error:
        log.warning("nobody can sign in: %s", error)
        return
    if not any(at_least(user.role, Role.OPERATOR) and not user.disabled for user in users.values()):
        log.warning("nobody can operate this city yet: gwanje user add NAME --role operator")


def _say_sum(summary: dict[str, Any], data_dir: Path) -> None:
    fifo = summary["fifo"]
    granted = "unknown" if fifo is None else "granted" if fifo else "REFUSED by this machine (ticks may be late)"
    print(f"stopped after {summary['seconds']} s")
    if summary["loop_restarts"]:
        print(f"  control loop: {summary['loop_restarts']} restart(s); its figures are since the last one")
    if summary["not_running"]:
        print(f"  NOT RUNNING at the end, see the messages above: {', '.join(summary['not_running'])}")
    rms = summary["tie_line_rms_pct"]
    print("  tie-line RMS error " + ("not measured" if rms is None else f"{rms} % of the connection's rating"))
    if summary["ticks"] is None:
        print("  loop: did not run")
    else:
        print(
            f"  loop: {summary['ticks']} ticks, {summary['ticks_lost']} lost, p99.9 {summary['late_p999_us']} us late; "
            f"FIFO scheduling {granted}; the host kept {summary['host_steal_ms']} ms of processor time"
        )
    recorded, kept = summary["points_recorded"], summary["points_acknowledged"]
    lost = "" if recorded == kept else f": {(recorded or 0) - (kept or 0)} points are LOST, see the messages above"
    told = "did not run" if recorded is None else f"{recorded} recorded, {kept} acknowledged{lost}"
    print(f"  historian: {told}")
    print(f"  sounds: {summary['n_events']}; restarts: {summary['restarts']}; data: {os.path.relpath(data_dir)}")
    sys.stdout.flush()
