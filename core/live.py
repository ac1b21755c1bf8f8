"""What a running city says on the command line: ``gwanje status``."""

from __future__ import annotations

import json
import math
from pathlib import Path

from gwanje.core.clock import NS_PER_S, SystemClock, utc_text
from gwanje.core.config import Site
from gwanje.core.part import Heartbeat
from gwanje.core.run_dir import RunInfo
from gwanje.core.store import TagStore


def print_status(site: Site, run_dir: Path, info: RunInfo, as_json: bool) -> int:
    """Parts with state, restarts and CPU; devices and nodes that are not well."""
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
    running_s = (clock.mono_ns() - info.started_mono_ns) / NS_PER_S
    if as_json:
        answer = {"site": site.id, "pid": info.pid, "running_s": round(running_s, 1), "parts": parts,
                  "devices": len(site.devices), "offline": offline, "data": info.data_dir}  # fmt: skip
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    print(f"{site.name_en} · since {utc_text(info.started_utc_ns)} ({running_s:.0f} s) · pid {info.pid}")
    for one in parts:
        print(
            f"  {one['part']:10} {one['state']:10} pid {one['pid']:<8} cpu {one['cpu_pct']:5.1f} %  "
            f"restarts {one['restarts']}"
        )
    print(f"  devices: {len(site.devices) - len(offline)} of {len(site.devices)} online" + (
        f"; offline: {', '.join(offline)}" if offline else ""
    ))
    return 0
