"""What a running city says on the command line: ``gwanje status``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gwanje.core.city.part import Heartbeat
from gwanje.core.city.run_dir import RunInfo
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.site.config import Site
from gwanje.core.site.devices import FAMILY_QUANTITIES
from gwanje.core.site.local_time import SiteTime
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import Snapshot, TagStore

OFFLINE_SHOWN = 10
"""Devices that do not answer and are named; whoever wants all of a dead fleet asks with ``--json``."""


def print_status(site: Site, run_dir: Path, info: RunInfo, as_json: bool) -> int:
    """Parts with state, restarts and CPU; every family of devices; devices that do not answer."""
    clock = SystemClock()
    store = TagStore.attach(run_dir / "tags", site.tags)
    snapshot = store.snapshot_at(clock.mono_ns())
    parts = []
    for part in site.parts:
        ids = site.tags.indices([f"system.part_{part}.{what}" for what in ("state", "restarts", "cpu_pct")])
        state, restarts, cpu = (float(snapshot.value[one]) for one in ids)
        if math.isnan(state):
            continue
        words = site.tags.get(f"system.part_{part}.state").states
        parts.append(
            {
                "part": part,
                "pid": Heartbeat(run_dir, part).pid(),
                "state": words[int(state)][1],
                "restarts": int(restarts),
                "cpu_pct": round(cpu, 1),
            }
        )
    offline = [
        device.name
        for device in site.devices
        if snapshot.value[site.tags.index(f"{device.prefix}.online")] != 1.0
    ]
    families = _families(site, snapshot)
    desk = _desk(site, store, clock.mono_ns())
    running_s = (clock.mono_ns() - info.started_mono_ns) / NS_PER_S
    if as_json:
        answer = {"site": site.id, "pid": info.pid, "running_s": round(running_s, 1), "parts": parts,
                  "devices": len(site.devices), "offline": offline, "families": families,
                  "data": info.data_dir, "desk": desk}  # fmt: skip
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    since = SiteTime(site.timezone).second(info.started_utc_ns)
    print(f"{site.name_en} · since {since} ({running_s:.0f} s) · pid {info.pid}")
    for one in parts:
        print(
            f"  {one['part']:10} {one['state']:10} pid {one['pid']:<8} cpu {one['cpu_pct']:5.1f} %  "
            f"restarts {one['restarts']}"
        )
    for line in [*_family_lines(families), _offline_line(offline, len(site.devices))]:
        print(f"  {line}")
    for line in _desk_lines(desk):
        print(f"  {line}")
    return 0


def _families(site: Site, snapshot: Snapshot) -> list[dict[str, Any]]:
    """How each family of devices does: part and :data:`FAMILY_QUANTITIES`; ``None`` where nobody knows."""
    found = []
    for part in site.parts:
        names = {quantity: f"system.family_{part}.{quantity}" for quantity in FAMILY_QUANTITIES}
        if not all(name in site.tags for name in names.values()):
            continue
        row: dict[str, Any] = {"part": part}
        for quantity, name in names.items():
            at = site.tags.index(name)
            known = not is_bad(int(snapshot.quality[at])) and math.isfinite(snapshot.value[at])
            value = float(snapshot.value[at])
            digits = 2 if quantity in ("reads_per_s", "late_p99_ms") else None
            row[quantity] = round(value, digits) if known else None
        found.append(row)
    return found


def _family_lines(families: list[dict[str, Any]]) -> list[str]:
    def said(row: dict[str, Any], key: str, width: int, decimals: int = 0) -> str:
        value = row[key]
        return f"{'–' if value is None else f'{value:.{decimals}f}':>{width}}"

    return [
        f"{row['part']:10} {said(row, 'online', 5)} of {said(row, 'devices', 5)} online  "
        f"{said(row, 'reads_per_s', 8, 1)} reads/s  late p99 {said(row, 'late_p99_ms', 7, 1)} ms  "
        f"errors {said(row, 'errors', 6)}  skipped {said(row, 'skipped', 6)}"
        for row in families
    ]


def _offline_line(offline: list[str], n_devices: int) -> str:
    line = f"devices: {n_devices - len(offline)} of {n_devices} online"
    if not offline:
        return line
    more = len(offline) - OFFLINE_SHOWN
    named = ", ".join(offline[:OFFLINE_SHOWN])
    return f"{line}; offline: {named}" + (f" … and {more} more" if more > 0 else "")


DESK_TAGS = {
    "ticks_lost": "control.loop.ticks_lost", "alarms_active": "system.alarms.active",
    "alarms_unacknowledged": "system.alarms.unacknowledged", "alarms_shelved": "system.alarms.shelved",
    "alarms_suppressed": "system.alarms.suppressed", "alarms_out_of_service": "system.alarms.out_of_service",
    "read_only": "system.commands.read_only", "held_points": "system.commands.held_points",
    "substituted": "system.overrides.substituted", "blocked": "system.overrides.blocked",
    "safety_tags": "system.safety.tags", "danger_tags": "system.safety.danger",
    "journal_ok": "system.journal.ok", "journal_signed": "system.journal.signed",
    "journal_broken_files": "system.journal.broken_files",
}  # fmt: skip
"""What somebody who comes on duty wants to know before anything else."""


def _desk(site: Site, store: TagStore, now_mono_ns: int) -> dict[str, int | None]:
    """:data:`DESK_TAGS` as whole numbers; ``None`` where nobody knows."""
    found: dict[str, int | None] = {}
    for key, name in DESK_TAGS.items():
        sample = store.read(site.tags.index(name), now_mono_ns) if name in site.tags else None
        known = sample is not None and not is_bad(sample.quality) and not math.isnan(sample.value)
        found[key] = int(sample.value) if sample is not None and known else None
    return found


def _desk_lines(desk: dict[str, int | None]) -> list[str]:
    def said(key: str) -> str:
        value = desk[key]
        return "?" if value is None else str(value)

    gate = {"0": "open", "1": "CLOSED, the site is read-only"}.get(said("read_only"), "?")
    journal = {"0": "CANNOT BE WRITTEN", "1": "written"}.get(said("journal_ok"), "?")
    journal += "" if desk["journal_signed"] else ", not signed (gwanje keys init)"
    journal += f", {desk['journal_broken_files']} file(s) TAMPERED WITH" if desk["journal_broken_files"] else ""
    return [
        f"alarms: {said('alarms_active')} standing, {said('alarms_unacknowledged')} unacknowledged, "
        f"{said('alarms_shelved')} shelved, {said('alarms_suppressed')} suppressed, "
        f"{said('alarms_out_of_service')} out of service",
        f"gate: {gate}; held by people: {said('held_points')}; substituted: {said('substituted')}, "
        f"blocked: {said('blocked')}; safety tags: {said('safety_tags')} (danger: {said('danger_tags')})",
        f"journal: {journal}; ticks lost: {said('ticks_lost')}",
    ]
