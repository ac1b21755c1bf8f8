"""What is published of incidents: events in both languages. The one that is new raises the alarm, updates do not."""

from __future__ import annotations

import math
from typing import Final

from gwanje.control.acoustic.classes import CLASSES
from gwanje.control.acoustic.live.arrays import WORDS, Array
from gwanje.control.acoustic.live.desk import CITY_WIDE, Change, Record, What
from gwanje.control.acoustic.live.hands import Done
from gwanje.core.bus.messages import Event, Scalar
from gwanje.core.clock import NS_PER_S
from gwanje.core.site.nodes import Node

KIND: Final = "incident"
"""Of an incident that is new, with the class of its sound: alarms hang on it."""
UPDATE: Final = "incident_update"
NAMES_MAX: Final = 12
"""Nodes that an event names; of more their number is told."""
TEXTS: Final = {one.name: (one.text_ko, one.text_en) for one in CLASSES} | {
    CITY_WIDE: ("도시 전역의 소리 (천둥·민방위 사이렌)", "A sound of the whole city (thunder, civil sirens)")
}
WHAT: Final = {
    What.PLACED: ("위치 확인", "placed"),
    What.CITY_WIDE: ("도시 전역의 소리로 판단", "taken for a sound of the whole city"),
    What.MERGED: ("다른 사건의 일부로 판단", "taken for part of another incident"),
}


def data_of(record: Record) -> dict[str, Scalar]:
    """The figures of an incident, as small as an event is."""
    data: dict[str, Scalar] = {
        "incident": record.number, "class": record.kind, "n_nodes": len(record.nodes),
        "nodes": ",".join(record.nodes[:NAMES_MAX]),
    }  # fmt: skip
    if record.place is not None:
        data |= {
            "x_m": round(record.place.xy_m[0], 2), "y_m": round(record.place.xy_m[1], 2),
            "semi_major_m": round(record.place.semi_major_m, 2),
            "semi_minor_m": round(record.place.semi_minor_m, 2), "angle_rad": round(record.place.angle, 4),
            "place_notes": ",".join(map(str, record.place.notes)),
        }  # fmt: skip
    for name, (rad, sigma, quality) in list(record.bearings.items())[:1]:
        data |= {"bearing_node": name, "bearing_rad": round(rad, 4), "bearing_sigma_rad": round(sigma, 4),
                 "bearing_quality": round(quality, 3)}  # fmt: skip
    if record.merged_into:
        data["merged_into"] = record.merged_into
    return data


def of_change(change: Change, node: Node, now_mono_ns: int, now_utc_ns: int) -> Event:
    """The event of a change of an incident; ``node`` is the one that heard it first."""
    record = change.record
    ko, en = TEXTS[record.kind]
    new = change.what is What.NEW
    if new:
        text_ko, text_en = f"{node.label_ko}: {ko} (사건 {record.number})", f"{node.label_en}: {en} ({record.number})"
    else:
        what_ko, what_en = WHAT[change.what]
        text_ko, text_en = f"사건 {record.number} {ko}: {what_ko}", f"incident {record.number}, {en}: {what_en}"
        if record.place is not None and change.what is What.PLACED:
            x, y, wide = *record.place.xy_m, record.place.semi_major_m
            text_ko += f" (동 {x:.0f} m, 북 {y:.0f} m, 95 % {wide:.0f} m 이내)"
            text_en += f" ({x:.0f} m east, {y:.0f} m north, 95 % within {wide:.0f} m)"
    return Event(
        kind=KIND if new else UPDATE, source=node.name,
        class_name=record.kind if new else f"incident_{change.what}",
        utc_ns=now_utc_ns - (now_mono_ns - record.begin_ns), mono_ns=record.begin_ns, text_ko=text_ko,
        text_en=text_en, confidence=record.confidence,
        latency_s=round((now_mono_ns - record.begin_ns) / NS_PER_S, 3), data=data_of(record),
    )  # fmt: skip


def of_done(done: Done, utc_ns: int, mono_ns: int) -> Event:
    """The event of a command to a camera or lamps."""
    job, taken = done.job, done.n_taken > 0
    data: dict[str, Scalar] = {
        "incident": job.incident, "points": len(job.points), "taken": done.n_taken, "value": job.value,
        "asked_ms": round((done.begun_ns - job.asked_ns) / 1e6, 1),
        "done_ms": round((done.done_ns - job.asked_ns) / 1e6, 1),
    }  # fmt: skip
    if job.what == "camera":
        data["off_deg"] = round(math.degrees(job.off), 1)
        ko = f"카메라 {job.name}: 프리셋 {job.value:.0f}(으)로 회전" if taken else f"카메라 {job.name}: 돌리지 않음"
        en = f"camera {job.name} " + (f"turns to preset {job.value:.0f}" if taken else "was not turned")
        name = "camera_turned" if taken else "camera_not_turned"
    else:
        ko = f"가로등 {done.n_taken}/{len(job.points)}개 밝힘"
        en = f"{done.n_taken} of {len(job.points)} lamps brightened"
        name = "lamps_up" if taken else "lamps_not_up"
    if done.why_en:
        data["why"] = done.why_en[:200]
        ko, en = f"{ko}: {done.why_ko}", f"{en}: {done.why_en}"
    return Event(
        kind=UPDATE, source=job.name or "lamps", class_name=name, utc_ns=utc_ns, mono_ns=mono_ns,
        text_ko=f"사건 {job.incident}: {ko}", text_en=f"incident {job.incident}: {en}", data=data,
    )  # fmt: skip


def of_array(node: Node, array: Array, utc_ns: int, mono_ns: int) -> Event | None:
    """The event of an array whose state has changed; None where there is nothing to say."""
    if array.state not in WORDS:
        return None
    ko, en = WORDS[array.state]
    more = f" ({array.faults})" if array.faults else ""
    return Event(
        kind="device", source=node.name, class_name=f"array_{array.state.name.lower()}", utc_ns=utc_ns,
        mono_ns=mono_ns, text_ko=f"마이크 배열 {node.name}({node.label_ko}): {ko}{more}",
        text_en=f"Microphone array {node.name} ({node.label_en}) {en}{more}",
    )  # fmt: skip
