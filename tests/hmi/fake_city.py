"""A city made of numbers, for the screen's tests and for looking at the screen without running anything.

    python tests/hmi/fake_city.py OUT.png [--size 1920x1080] [--lang ko] [--state normal|alarms|lost|empty|storm]

It speaks through the same doors as the real one: scans, events, alarm changes and spectra handed to the receiver, on a
virtual clock that the caller moves.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gwanje.core.bus.messages import AlarmChange, Blob, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.bus.wire import Message
from gwanje.core.clock import VirtualClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import StoreError, TagStore
from gwanje.hmi.clock import FrameClock
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.worker import Worker
from gwanje.hmi.display.loader import load_display
from gwanje.hmi.i18n import Texts
from gwanje.hmi.link import Link, Memory
from gwanje.hmi.live import Live, places_of
from gwanje.hmi.model.alarms import AlarmModel
from gwanje.hmi.model.events import EventModel
from gwanje.hmi.screen import application
from gwanje.hmi.style import Style
from gwanje.hmi.views.overview import Overview
from gwanje.hmi.views.panel import Ui

try:
    from gwanje_tests_hmi_fake_core import FakeCore  # as the tests' conftest loads it
except ImportError:
    from fake_core import FakeCore  # as a script, from its own folder

SITE = Path(__file__).resolve().parents[2] / "configs" / "chungbuk"
UTC0_NS = 1_805_347_200_000_000_000
STEP_NS = 100_000_000
NO_NUMBER = math.nan


class FakeReceiver:
    """A bus subscriber that gives what was put into it."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.gaps: dict[tuple[str, str], int] = {}
        self.topics: set[str] = set()
        self.closed = False

    def hear(self, topic: str) -> None:
        self.topics.add(topic)

    def hear_no_more(self, topic: str) -> None:
        self.topics.remove(topic)

    def poll(self, timeout_ms: int) -> bool:
        return bool(self.waiting)

    def receive(self) -> Message | None:
        return self.waiting.popleft() if self.waiting else None

    def close(self) -> None:
        self.closed = True


def no_store() -> TagStore:
    raise StoreError("no running city found")


def alarm(
    number: int, priority: int, state: str, source: str, ko: str, en: str, value: float, unit: str, limit: float,
    utc_ns: int,
) -> AlarmChange:
    return AlarmChange(
        alarm_id=f"fake-{number}", state=state, priority=priority, source=source, text_ko=ko, text_en=en,
        cause_ko="", cause_en="", consequence_ko="", consequence_en="",
        response_ko="출력 50 % 제한 후 현장 점검", response_en="Limit output to 50 %, inspect", value=value, unit=unit,
        limit=limit, utc_ns=utc_ns, changed_utc_ns=utc_ns, sequence=utc_ns,
    )  # fmt: skip


@dataclass
class FakeCity:
    """Feeds a link; time moves with :meth:`run`."""

    site: Site
    clock: VirtualClock
    receiver: FakeReceiver = field(default_factory=FakeReceiver)
    local_s: float = 36_000.0
    speed: float = 1.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    elapsed_s: float = 0.0
    mute: set[str] = field(default_factory=set)
    quiet_nodes: set[str] = field(default_factory=set)
    marked: dict[str, int] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """What the tags read now."""
        t, noise = self.elapsed_s, self.rng.normal
        dip = 0.5 * (1 / (1 + math.exp(-(t % 90 - 30) / 2)) - 1 / (1 + math.exp(-(t % 90 - 55) / 2)))
        sun = 1.0 - dip + 0.01 * noise()
        roof, floating, wind = 612_000 * sun, 538_000 * sun, 64_000 + 9_000 * math.sin(t / 7)
        loads = {"jincheon.homes.load_w": 131_000 + 900 * noise(), "jincheon.factory.load_w": 431_000 + 2_000 * noise(),
                 "jincheon.ev_site.load_w": 198_000, "eumseong.ev_site2.load_w": 31_000.0,
                 "eumseong.heat_pump.load_w": 164_000 + 500 * noise(),
                 "city.lamps.load_w": 0.0, "eumseong.homes2.load_w": 82_000.0, "jincheon.shops.load_w": 96_000.0,
                 "jincheon.clinic.load_w": 41_000.0, "eumseong.pump_station.load_w": 12_000.0}  # fmt: skip
        setpoint = 200_000.0
        missing = sum(loads.values()) - roof - floating - wind - setpoint
        ess = max(-450_000.0, min(450_000.0, missing / 2))
        tie = setpoint + missing - 2 * ess + 6_000 * noise()
        values = {
            "grid.tie.import_w": tie, "grid.tie.frequency_hz": 60.013 + 0.004 * noise(),
            "grid.tie.voltage_v": 22_910 + 12 * noise(), "grid.breaker.closed": 1.0,
            "jincheon.pv_roof.generation_w": roof, "eumseong.pv_float.generation_w": floating,
            "eumseong.wind1.generation_w": wind, "jincheon.ess1.discharge_w": ess, "eumseong.ess2.discharge_w": ess,
            "jincheon.ess1.soc": 0.71 - t * 1e-5, "eumseong.ess2.soc": 0.66 - t * 1e-5,
            "jincheon.ess1.energy_wh_capacity": 1e6, "eumseong.ess2.energy_wh_capacity": 1e6,
            "grid.bus.voltage_v": 22_910 + 12 * noise(), "microgrid.state.frequency_hz": 60.013 + 0.004 * noise(),
            "microgrid.state.mode": 0.0, "microgrid.tie.demand_predicted_w": 212_000.0,
            "microgrid.tie.import_limit_w": 2_250_000.0, "eumseong.chp1.generation_w": 0.0,
            "jincheon.diesel1.generation_w": 0.0, "city.pv.generation_w": roof + floating,
            "city.renewable.generation_w": roof + floating + wind, "city.storage.discharge_w": 2 * ess,
            "city.use.load_w": sum(loads.values()), "city.use.self_sufficiency": 1 - tie / sum(loads.values()),
            "control.tie.import_setpoint_w": setpoint, "control.tie.error_w": tie - setpoint, "control.tie.mode": 2.0,
            "control.ess1.discharge_setpoint_w": ess, "control.ess2.discharge_setpoint_w": ess,
            "control.loop.ticks": t * 100, "control.loop.ticks_lost": 0.0,
            "control.loop.late_p999_us": 187 + 9 * noise(), "control.loop.fifo": 1.0,
            "system.historian.points_recorded": t * 2_140,
            "system.historian.points_acknowledged": t * 2_140 - 300, "system.historian.backlog": 300.0,
            "system.part_city.cpu_pct": 74 + noise(), "system.tags.stale": 0.0,
            "sim.clock.local_s": self.local_s + t * self.speed, **loads,
        }  # fmt: skip
        for device in ("jincheon.pv_roof", "eumseong.pv_float", "eumseong.wind1", "jincheon.ess1", "eumseong.ess2"):
            values[f"{device}.state"] = 3.0
        for device in self.site.devices:
            values[f"{device.prefix}.online"] = 1.0
        for index, node in enumerate(self.site.nodes):
            values[f"{node.prefix}.level_db"] = -52 + 3 * index + 2 * noise()
            values[f"{node.prefix}.health"] = 2.0 if node.name in self.quiet_nodes else 0.0
        return values

    def send_scan(self, changed: dict[str, float] | None = None, quality: int = 0) -> None:
        """One frame per owner, as the parts publish them."""
        by_owner: dict[str, list[tuple[int, float, int]]] = {}
        for name, value in {**self.values(), **(changed or {})}.items():
            if name not in self.site.tags or name in self.mute:
                continue
            tag = self.site.tags.get(name)
            bits = quality | self.marked.get(name, 0)
            bits |= (int(Quality.SIMULATED) if tag.simulated or tag.owner == "sim" else 0)
            by_owner.setdefault(tag.owner, []).append((self.site.tags.index(name), value, bits))
        for owner, rows in by_owner.items():
            if owner in self.mute:
                continue
            rows.sort()
            ids, values, bits_column = (np.array(column) for column in zip(*rows, strict=True))
            times = np.full(len(rows), self.clock.utc_ns(), np.int64)
            self.receiver.waiting.append(
                Scan(ids.astype(np.uint32), values.astype(float), bits_column.astype(np.uint16), times, 0, owner,
                     self.clock.mono_ns())
            )

    def send_spectra(self, n: int) -> None:
        """n columns of every node that is heard."""
        band = np.arange(64)
        for index, node in enumerate(self.site.nodes):
            if node.name in self.quiet_nodes:
                continue
            floor = 70 - band * 0.6 + 10 * self.rng.standard_normal((n, 64))
            tone = 40 * np.exp(-((band - 14 - 6 * math.sin(self.elapsed_s + index)) ** 2) / 6)
            loud = floor + tone
            if node.name == "mic03" and 3.0 < self.elapsed_s % 10 < 3.5:  # heard by `trouble` as well
                loud += 120 * np.exp(-(((band - 44) / 16) ** 2))
            header = {"node": node.name, "mono_ns": self.clock.mono_ns(), "hop_ms": 40}
            self.receiver.waiting.append(
                Blob(f"spectrum.{node.name}", header, (np.clip(loud, 0, 255).astype(np.uint8),))
            )

    def send_sound(self, node: str, sound: str, confidence: float, ago_s: float, latency_s: float = 0.4) -> None:
        ago = int(ago_s * 1e9)
        self.receiver.waiting.append(
            Event("acoustic", node, sound, self.clock.utc_ns() - ago, max(1, self.clock.mono_ns() - ago),
                  f"{sound} 감지", f"{sound} detected", confidence, latency_s)
        )

    def send_alarm(self, change: AlarmChange) -> None:
        self.receiver.waiting.append(change)

    def advance(self, ns: int = STEP_NS) -> None:
        self.clock.advance_ns(ns)
        self.elapsed_s += ns / 1e9


@dataclass
class FakeScreen:
    """The real screen on a fake city, without threads: the caller turns the link and the frame clock."""

    city: FakeCity
    link: Link
    frames: FrameClock
    view: Overview
    live: Live
    core: FakeCore
    worker: Worker

    @property
    def desk(self) -> Desk:
        return self.live.desk

    @property
    def acknowledged(self) -> list[str]:
        return [one["alarm_id"] for one in self.core.done if one["op"] == "ack"]

    def sign_in(self, user: str = "김하늘", password: str = "정답", areas: tuple[str, ...] = ()) -> None:
        """Somebody sits down and takes areas."""
        self.desk.sign_in(user, password, lambda _answer: None)
        self.settle()
        for area in areas:
            self.desk.request("session", "take_area", "areas.taken", area=area, reason="")
        self.turn(12, spectra=False)

    def settle(self) -> None:
        """Everything that was asked is answered, and shown with the next frames."""
        while self.worker.turn():
            pass
        self.turn(1, spectra=False)

    def turn(self, n: int = 1, spectra: bool = True) -> None:
        """n steps of 100 ms: the city speaks, the receiver takes it, three frames pass."""
        for _ in range(n):
            self.city.send_scan()
            if spectra:
                self.city.send_spectra(3 if self.city.rng.random() < 0.5 else 2)
            self.silent(1)

    def silent(self, n: int = 1) -> None:
        """n steps of 100 ms in which nobody says anything."""
        for _ in range(n):
            self.link.turn(self.city.receiver)
            while self.worker.turn():
                pass
            for _ in range(3):
                self.city.advance(STEP_NS // 3)
                self.frames.tick()

    def picture(self):
        return self.view.grab().toImage()


def default_site() -> Site:
    """The default site with its first eight microphones, which the screens' tests know one by one."""
    site = load_site(SITE)
    return replace(site, nodes=site.nodes[:8])


def build(
    width: int = 1920, height: int = 1080, lang: str = "ko", site: Site | None = None, core: FakeCore | None = None,
    console: str = "console-1",
) -> FakeScreen:
    """A screen that has not heard anything yet; two of them may share a core, and then its clock."""
    application(offscreen=True)
    site = site or default_site()
    clock = core.clock if core is not None else VirtualClock(UTC0_NS)
    city = FakeCity(site, clock)
    link = Link(site.tags, clock, lambda: city.receiver, no_store, lambda: Memory((), ()), [n.name for n in site.nodes])
    core = core or FakeCore(clock)
    worker = Worker(core.request)
    live = Live(
        site=site, display=load_display(SITE / "displays" / "overview.toml", site.tags, site), clock=clock,
        zone=ZoneInfo(site.timezone), snapshot=link.snapshot, spectra=link.spectra, inbox=link.inbox, link=link.state,
        alarms=AlarmModel(), events=EventModel(), places=places_of(site),
        desk=Desk(worker, clock, console),
    )  # fmt: skip
    frames = FrameClock(clock)
    view = Overview(Ui(Style(width, height), Texts(lang)), live, frames)
    view.resize(width, height)
    view.show()
    return FakeScreen(city, link, frames, view, live, core, worker)


def trouble(screen: FakeScreen) -> None:
    """A bad moment: alarms of every priority, sounds, a silent microphone, an inverter that does not answer."""
    now = screen.city.clock.utc_ns()
    for number, (priority, state, source, ko, en, value, unit, limit) in enumerate(
        (
            (1, "unack_active", "grid.tie.import_w", "연계점 수전 전력 한계 초과", "Tie import above its limit",
             2_310_000.0, "W", 2_250_000.0),
            (2, "unack_active", "mic03", "유리 파손음 감지", "Glass break heard", 0.91, "", NO_NUMBER),
            (3, "ack_active", "eumseong.wind1.online", "풍력 발전기 통신 끊김", "Wind turbine does not answer", 0.0, "",
             1.0),
            (4, "unack_returned", "system.historian.backlog", "이력 저장 대기 많음", "Historian backlog high",
             120_300.0, "", 100_000.0),
        )
    ):
        screen.city.send_alarm(alarm(number, priority, state, source, ko, en, value, unit, limit, now - number * 9**9))
    for node, sound, confidence, ago in (
        ("mic06", "siren_alarm", 0.97, 700), ("mic05", "baby_cry", 0.71, 390), ("mic04", "car_horn", 0.88, 61),
        ("mic03", "glass_break", 0.91, 3.5),
    ):  # fmt: skip
        screen.city.send_sound(node, sound, confidence, ago)
    screen.city.quiet_nodes = {"mic07"}


def storm(screen: FakeScreen, n: int = 5_000) -> None:
    """Very many alarms of low priority with one urgent among them."""
    now = screen.city.clock.utc_ns()
    for number in range(n):
        screen.city.send_alarm(
            alarm(number, 1 if number == n // 2 else 3, "unack_active", f"city.lamps.{number}", f"가로등 {number} 고장",
                  f"Lamp {number} fault", 1.0, "", NO_NUMBER, now + number)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--lang", default="ko", choices=("ko", "en"))
    parser.add_argument("--state", default="normal", choices=("normal", "alarms", "lost", "empty", "storm"))
    chosen = parser.parse_args()
    width, height = (int(part) for part in chosen.size.split("x"))
    screen = build(width, height, chosen.lang)
    if chosen.state != "empty":
        screen.turn(2_000, spectra=False)
        screen.view.acoustic.choose(2)
        screen.turn(90)
        if chosen.state in ("alarms", "lost"):
            trouble(screen)
            screen.city.mute.add("eumseong.wind1.generation_w")
            screen.turn(9)
        if chosen.state == "storm":
            storm(screen)
        screen.turn(12)
        if chosen.state == "lost":
            screen.silent(120)
    else:
        screen.silent(30)
    screen.picture().save(str(chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
