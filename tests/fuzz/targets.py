"""What is fuzzed, and what must hold of it whatever comes. A finding is an exception that nobody promised.

- ``bus``: what a subscriber does with frames. Frames under a right sum are refused with FrameError or give a message
  that is sound, and a scan without a wrong GOOD. Frames that were changed on the way give nothing at all.
- ``columns``: the kernel of column frames and its twin in numpy refuse the same frames and read the others alike.
- ``services``: what the core does with requests: the real core of the default site, in memory, on a clock of its own.
  Every request has one answer at most; nothing is changed for anybody without a session; no command goes twice.
- ``answers``: what a client does with answers.
- ``site``: what ``load_site`` does with a file.
- ``modbus``: what the fast lane takes for an answer. The kernel and its twin judge every stream alike, whole and cut;
  what is taken is byte for byte what was asked for; nothing is GOOD without being a number inside its limits.
- ``camera``: what the microphone driver does with an RTSP connection. It goes on or fails with a reason; nothing of the
  camera's stands in our requests unchecked; no sound comes from packets that nobody described.
"""

import contextlib
import logging
import os
import random
import select
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from gwanje.core.audio_ring import RingWriter
from gwanje.core.authority import credentials
from gwanje.core.authority.passwords import hash_password
from gwanje.core.authority.principal import Role
from gwanje.core.authority.users import User, UsersFile
from gwanje.core.bus.bus import ANSWER_LIMITS, PARTS, REQUEST_LIMITS, Bus, Subscriber
from gwanje.core.bus.messages import AlarmChange, Blob, Event
from gwanje.core.bus.msgpack_map import FrameError, unpack_map
from gwanje.core.bus.scan import KNOWN_BITS, NO_VALUE, Scan
from gwanje.core.bus.snapshot import SnapshotError, TagPicture
from gwanje.core.bus.wire import seal
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import VirtualClock, readable
from gwanje.core.commands.messages import Command
from gwanje.core.commands.owner import Office
from gwanje.core.main import Core
from gwanje.core.remote.rules import READS, refused, stamped
from gwanje.core.requests import Code, Refused
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.ext import columns, modbus_poller
from gwanje.ext.reference import columns as reference
from gwanje.ext.reference import modbus_poller as modbus_twin
from gwanje.io.field.modbus.bench_hostile import Ask, is_right
from gwanje.io.field.modbus.bench_hostile import frames as hostile_frames
from gwanje.io.field.modbus.points import Cell, Place, PointTable
from gwanje.io.field.rtsp import rtcp, rtp
from gwanje.io.field.rtsp.intake import Intake, Mixer
from gwanje.io.field.rtsp.rtp import Order
from gwanje.io.field.rtsp.sdp import choose_track
from gwanje.io.field.rtsp.session import Login as CameraLogin
from gwanje.io.field.rtsp.session import Session

try:
    from tests.fuzz.mutation import as_map, changed_bytes, mutated_map, packed
except ModuleNotFoundError:  # loaded by path
    from mutation import as_map, changed_bytes, mutated_map, packed

CHUNGBUK = Path(__file__).resolve().parents[2] / "configs" / "chungbuk"
N_TAGS = 5_000


class Finding(AssertionError):
    """Something that must never be."""


class WrongGood(Finding):
    """A value that is called GOOD and is not."""


def check_scan(scan: Scan, n_tags: int) -> None:
    """What holds of every scan that was decoded."""
    k = len(scan.ids)
    if not len(scan.values) == len(scan.quality) == len(scan.source_utc_ns) == k:
        raise Finding("columns of different lengths")
    if k and (int(scan.ids.max()) >= n_tags or bool(np.any(np.diff(scan.ids.astype(np.int64)) <= 0))):
        raise Finding("ids are not ascending inside the table")
    if np.any(scan.source_utc_ns < 0):
        raise Finding("a time before 1970")
    quality = scan.quality.astype(np.int64)
    if np.any(quality & ~KNOWN_BITS) or np.any(quality & 0xC000 == 0xC000):
        raise WrongGood("a quality that does not exist")
    if not np.all(np.isfinite(scan.values[quality & 0x8000 == 0])):
        raise WrongGood("a value that is not finite is not BAD")
    if np.any(quality[quality & 0xC000 == 0] & NO_VALUE):
        raise WrongGood("GOOD with a reason that says there is no value")


def check_event(event: Event) -> None:
    """What holds of every event that was decoded."""
    if not 0 <= event.confidence <= 1 or not 0 <= event.utc_ns < 2**63 or not -(2**63) <= event.mono_ns < 2**63:
        raise Finding("an event out of range")
    if Event.decode(event.encode()).encode() != event.encode():
        raise Finding("an event that is another after a round trip")


class Target:
    """One thing to fuzz."""

    name = ""
    frames = 0

    def seeds(self) -> list[bytes]:
        """Inputs to begin with."""
        raise NotImplementedError

    def seeds_once(self) -> list[bytes]:
        """The seeds, made once."""
        if not hasattr(self, "_made"):
            self._made = self.seeds()
        return self._made

    def run(self, data: bytes) -> None:
        """Try one input; an exception is a finding."""
        raise NotImplementedError

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another input."""
        return changed_bytes(data, rng)

    def close(self) -> None:
        """Let go."""


def example_messages() -> list[tuple[str, bytes]]:
    """(topic, body) of one message of every kind and size."""
    rng = np.random.default_rng(1)
    found = []
    for k in (0, 1, 3, 40, 300):
        ids = np.sort(rng.choice(N_TAGS, k, replace=False)).astype(np.uint32)
        values, quality = rng.normal(size=k), rng.choice([0, 0x4002, 0x8008, 0x0800, 0x8401], k).astype(np.uint16)
        found.append(("scan", Scan(ids, values, quality, np.full(k, 10**18), 0, "", 0).encode()))
    data = {"snr_db": 1.5, "n": 3, "t": "x"}
    event = Event("acoustic", "mic03", "glass_break", 1, 2, "유리", "glass", 0.9, 0.4, data, event_id="e1")
    found += [("event", event.encode()), ("event", Event("system", "x", "y", 0, 0, "", "", event_id="e2").encode())]
    alarm = {
        name: {"int": 1, "float": 1.0, "bool": False}.get(str(one.type), "x")
        for name, one in AlarmChange.__dataclass_fields__.items()
    }
    for state in ("normal", "unack_active"):
        with contextlib.suppress(ValueError, TypeError):
            found.append(("alarm", AlarmChange(**{**alarm, "state": state, "priority": 2}).encode()))
    blob = Blob("", {"node": "mic03", "n": 3}, (np.zeros((2, 8), np.uint8), np.zeros(3), np.zeros((1, 2, 3), "<i4")))
    return [*found, ("spectrum.mic03", blob.encode()), ("spectrum.x", Blob("", {}, ()).encode())]


TOPICS = ("scan", "past", "event", "alarm", "spectrum.mic03", "spectrum.x", "")
RAW = 128
"""First byte of an input that comes as it is; below it the topic's number, and the body is sealed here."""


class BusTarget(Target):
    """Frames at a subscriber."""

    name = "bus"

    def __init__(self) -> None:
        self._originals = set()
        self._sealed = self._subscriber()
        self._sequence = 0
        self._messages = example_messages()
        self._words = (*(one for _t, body in self._messages for one in as_map(body).values()), "|u1", "<f8", [2, 8])
        self._keys = tuple({key for _t, body in self._messages for key in as_map(body)} | {"zz"})
        self.decoded = 0

    @staticmethod
    def _subscriber() -> Subscriber:
        return Subscriber(None, N_TAGS, VirtualClock(), PARTS)

    def seeds(self) -> list[bytes]:
        found = []
        for index, (topic, body) in enumerate(self._messages):
            found.append(bytes([TOPICS.index(topic)]) + body)
            raw = seal(topic, "field", 5, index, 7, body)
            self._originals.add(raw)
            found.append(bytes([RAW]) + raw)
        return found

    def run(self, data: bytes) -> None:
        self.frames += 1
        if not data:
            return
        if data[0] >= RAW:
            try:
                message = self._subscriber()._decode(data[1:])
            except FrameError:
                return
            if data[1:] not in self._originals:
                raise WrongGood(f"a message that was changed on the way is taken: {message!r}"[:300])
            return
        topic = TOPICS[data[0] % len(TOPICS)]
        self._sequence += 1
        try:
            message = self._sealed._decode(seal(topic, "field", 5, self._sequence, 7, data[1:]))
        except FrameError:
            return
        self.decoded += 1
        if isinstance(message, Scan):
            check_scan(message, N_TAGS)
        elif isinstance(message, Event):
            check_event(message)
        elif isinstance(message, AlarmChange):
            AlarmChange.decode(message.encode())
        elif len(message.arrays) > 8 or any(one.nbytes > 65_536 for one in message.arrays):
            raise Finding("display data beyond its limits")

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        if len(data) < 2 or rng.random() < 0.3:
            data = rng.choice(self.seeds_once())
        if data[0] == 0 and rng.random() < 0.5 and (scan := as_map(data[1:])) is not None:
            return data[:1] + changed_columns(scan, rng)
        if data[0] < RAW and rng.random() < 0.6 and (content := as_map(data[1:])) is not None:
            mutated_map(content, rng, self._words, self._keys)
            return data[:1] + packed(content)
        return data[:1] + changed_bytes(data[1:], rng)


NASTY = {
    "i": (0, 1, N_TAGS - 1, N_TAGS, 2**31, 2**32 - 1),
    "v": (0.0, -0.0, np.nan, np.inf, -np.inf, 1e308, 5e-324, 1.5),
    "q": (0, 1, 0x4000, 0x8000, 0xC000, 0x2000, 0x1000, 0x0800, 0x0400, 0xFFFF, 0x8004),
    "t": (0, -1, 10**18, 2**63 - 1, -(2**63)),
}
LENGTHS = (0, 1, 2, 3, 40, 299, 2_048, 65_535)


def changed_columns(scan: dict[str, Any], rng: random.Random) -> bytes:
    """A scan with a few runs or values changed, moved, cut or doubled, in the one form that is read."""
    for _ in range(rng.randint(1, 3)):
        key = rng.choice("ivqt")
        kind = reference.RUNS.get(key, np.dtype("<f8"))
        body = scan.get(key)
        if not isinstance(body, bytes) or len(body) % kind.itemsize or not body:
            continue
        column = np.frombuffer(body, kind).copy()
        at = rng.randrange(len(column))
        if key == "v":
            column[at] = rng.choice(NASTY[key])
        else:
            column[at][rng.choice(("first", "n"))] = rng.choice(LENGTHS)
            if rng.random() < 0.5:
                column[at]["first"] = rng.choice(NASTY[key])
            if rng.random() < 0.3:
                column[at]["n"] -= min(1, int(column[at]["n"]))
                column = np.insert(column, at, column[at])
                column[at]["n"] = 1
        scan[key] = column.tobytes()[:65_528]
    if rng.random() < 0.1:
        scan["n"] = rng.choice(LENGTHS)
    kept = {key: scan[key] for key in "niqtv" if isinstance(scan.get(key), (bytes, int))}
    return reference.pack({key: one if isinstance(one, bytes) else one % 2**16 for key, one in kept.items()})


class ColumnsTarget(Target):
    """Column frames at the kernel and at its twin."""

    name = "columns"

    def seeds(self) -> list[bytes]:
        return [body for topic, body in example_messages() if topic == "scan"]

    def run(self, data: bytes) -> None:
        self.frames += 1
        ours, theirs = (_refused_or_read(one.decode, data) for one in (columns, reference))
        if (ours is None) != (theirs is None):
            raise Finding("one refuses what the other reads")
        for one, other in zip(ours or (), theirs or (), strict=True):
            if one.dtype != other.dtype or one.tobytes() != other.tobytes():
                raise Finding(f"read as {one!r} and {other!r}"[:300])
        if ours is not None:
            check_scan(Scan(*ours, 0, "", 0), N_TAGS)
            if _refused_or_read(columns.decode, columns.encode(*ours)) is None:
                raise Finding("what was read cannot be written and read again")

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        content = as_map(data) if rng.random() < 0.8 else None
        if content is not None and content.keys() == {"n", "i", "q", "t", "v"} and type(content["n"]) is int:
            return changed_columns(content, rng)
        return changed_bytes(data or self.seeds_once()[0], rng)


def _refused_or_read(decode: Callable[[bytes, int], Any], data: bytes) -> Any:
    try:
        return decode(data, N_TAGS)
    except ValueError:
        return None


def framed(frames: list[bytes]) -> bytes:
    """Frames in one piece of bytes."""
    return b"".join(struct.pack("<H", min(len(one), 65_535)) + one[:65_535] for one in frames)


def unframed(data: bytes) -> list[bytes]:
    """Back from :func:`framed`; what is cut off is taken as far as it goes."""
    frames, at = [], 0
    while at + 2 <= len(data) and len(frames) < 8:
        (length,) = struct.unpack_from("<H", data, at)
        frames.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return frames


CHANGING = {
    "accepted", "awaiting_second", "selected", "checked", "granted", "released", "done", "area", "signed_out", "locked",
    "unlocked", "placed", "removed", "cancelled", "gate",
}  # fmt: skip
"""Outcomes of requests that change something: never without a session."""
TICK = 254
"""First byte of an input in which only time goes on, with whatever is under way; the second says how long."""
MENDED_EVERY = 500
"""Requests after which gate, safety tags and areas are put back."""
SCRIPT = 255
"""First byte of an input that holds several requests, one after the other."""
OPS = (
    "sign_in", "sign_out", "lock", "unlock", "touch", "who", "sessions", "areas", "take_area", "release_area",
    "hand_over", "accept_area", "select", "check", "execute", "second", "cancel", "progress", "operations", "write",
    "lease", "renew", "release", "give_back", "gate", "leases", "place_tag", "remove_tag", "safety_tags", "list",
    "presented", "ack", "ack_group", "reset", "shelve", "unshelve", "out_of_service", "return_to_service", "shelved",
    "kpis", "substitute", "block", "restore", "overrides", "describe",
)  # fmt: skip
KEYS = (
    "op", "session", "point", "points", "value", "unit", "reason", "seen_value", "seen_mono_ns", "issued_mono_ns",
    "issued_utc_ns", "expires_mono_ns", "accept_warnings", "retyped", "select_id", "command_id", "user", "password",
    "console", "area", "to", "force", "alarm_id", "group", "for_s", "one_shot", "scope", "kind", "review_s", "tag_id",
    "name", "lease_id", "ttl_s", "read_only", "pattern", "limit", "offset", "remote_key", "remote_role", "author",
    "role", "refresh", "warnings",
)  # fmt: skip


class Owner:
    """An owner of points as the core sees it: opens what it gets as a real one does, and obeys unless the id tells it
    to refuse, to be silent, or to answer later; notes what came."""

    def __init__(self, name: str, bus: "OwnersBus") -> None:
        self._bus = bus
        self._office = Office(name, bus.secret, bus.tags, bus, bus.clock, self._take, read_only=False)
        self._office._sent_mono_ns = 0  # it began long ago
        self._ready: dict[str, Any] | None = None
        self._from_mono_ns = 0

    def _take(self, command: Command) -> Refused | None:
        self._bus.forwarded.append((self._bus.clock.mono_ns(), command.to_message()))
        self._bus.until[command.command_id] = command.expires_mono_ns
        self._from_mono_ns = self._bus.clock.mono_ns() + (400_000_000 if command.command_id[-1:] == "5" else 0)
        return Refused(Code.OWNER) if command.command_id[-1:] == "7" else None

    def ask(self, message: dict[str, Any]) -> None:
        """Called by the forwarder."""
        before, self._ready = len(self._bus.forwarded), self._office.answer(message)
        # an id whose command has expired may be used anew for all the core cares; an owner has a longer memory
        over = self._bus.clock.mono_ns() >= self._bus.until.get(self._ready["command_id"], 2**63)
        told = len(self._bus.forwarded) > before or (self._ready["code"] == "replayed" and over)
        if not told:
            self._bus.findings.append(f"the core sent what no owner takes: {self._ready}")
        if self._bus.forwarded and self._bus.forwarded[-1][1]["command_id"][-1:] == "3":
            self._ready = None

    def answer(self) -> dict[str, Any] | None:
        """What it says, when it says it."""
        if self._bus.clock.mono_ns() < self._from_mono_ns:
            return None
        ready, self._ready = self._ready, None
        return ready

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._ready = None

    close = give_up


class OwnersBus(Bus):
    """A core's bus on which every owner of points is an :class:`Owner`."""

    secret: bytes
    tags: TagTable
    forwarded: list[tuple[int, dict[str, Any]]]
    findings: list[str]
    until: dict[str, int]
    """When commands that were taken expire."""

    def asker(self, name: str, _waiting: select.poll) -> Any:
        """Connections of the forwarder."""
        return Owner(name.removeprefix("commands."), self)

    gate_closed = False

    def until_mono_ns(self, _tag_id: int) -> int:
        """Owners that look at no danger tag: what the core lets leave although one hangs would arrive."""
        return 0


class ServicesTarget(Target):
    """Requests at the doors of a whole core."""

    name = "services"

    def __init__(self) -> None:
        logging.getLogger("core").setLevel(logging.CRITICAL)
        self.folder = Path(tempfile.mkdtemp(prefix=f"gw-fuzz-{os.getpid()}-", dir="/dev/shm"))
        self.clock = VirtualClock(mono_ns=10**12)
        self._build()
        self._sessions = [self._sign_in("kim", 0), self._sign_in("park", 1), credentials.read(self.run_dir, "control")]
        self._words = (*(f"${one}" for one in "012nuecstlvp"), *OPS, *self._points[:40], *self._areas, *self._alarm_ids,
                       "jincheon.*", "danger", "maintenance", "open", "kim", "park", "kimkimkim", "W", "", "t1",
                       60.0, 3_600.0, 0.0, 1.0, True, ["tie"], [])  # fmt: skip
        self._accepted: dict[str, int] = {}
        self._given: dict[str, Any] = {}
        self.answered = self.changed = self.left = 0
        self.alive = 0.0
        """Most operations that were under way while time went on."""
        self.answers: dict[str, int] = {}
        self.codes: dict[str, int] = {}

    def _build(self) -> None:
        site = load_site(CHUNGBUK)
        self.run_dir = self.folder / "run"
        self.run_dir.mkdir()
        options = RunOptions(data_dir=str(self.folder / "data" / "run"))
        options.state_dir.mkdir(parents=True)
        credentials.write(self.run_dir, ("core", "control"))
        now = self.clock.utc_ns()
        for name, role in (("kim", Role.OPERATOR), ("park", Role.SUPERVISOR)):
            user = User(name, role, ("*",), "", hash_password(name * 3), now, False, now, now, "test")
            UsersFile(options.security_dir).change(lambda users, user=user: users.update({user.name: user}))
        store = TagStore.create(self.run_dir / "tags", site.tags)
        self._writers = [(store.writer(one), site.tags.by_owner(one)) for one in site.tags.ranges if one != "core"]
        self._values = np.array([min(max(0.0, tag.low), tag.high) if tag else 0.0 for tag in site.tags.tags])
        self._refresh()
        self._tags = site.tags
        self._bus = OwnersBus(self.run_dir, "core", self.clock, site.tags.n)
        self._bus.forwarded, self._bus.findings, self._bus.until = [], [], {}
        self._bus.secret, self._bus.tags = credentials.owner_secret(self.run_dir), site.tags
        self._sent: dict[str, int] = {}
        self._findings = self._bus.findings
        self._stop_read, self._stop_write = os.pipe()
        self.core = Core(PartContext(
            "core", site, site.tags, store, self.clock, self._bus, self.run_dir, options, self._stop_read,
            logging.getLogger("core"), Heartbeat(self.run_dir, "core"),
        ))  # fmt: skip
        self._points = [tag.name for tag in site.tags if tag.kind in ("setpoint", "parameter")] or ["a.b.c"]
        self._operable = [
            (name, site.tags.get(name).unit, float(self._values[site.tags.index(name)])) for name in self._points[:12]
        ]
        self._leases = sorted({one.split(".")[2].removesuffix("_until_s") for one in site.tags.ids
                               if one.startswith("system.lease.")})  # fmt: skip
        self._areas = [area.id for area in site.areas]
        self._alarm_ids = [one.id for one in site.alarms][:10]

    def _refresh(self) -> None:
        """All that the city measures is fresh and good."""
        for writer, ids in self._writers:
            k = len(ids)
            writer.write(ids, self._values[ids], np.full(k, Quality.GOOD, np.uint16), np.full(k, self.clock.utc_ns()),
                         self.clock.mono_ns())  # fmt: skip

    def _sign_in(self, name: str, index: int) -> str:
        answers: list[dict[str, Any]] = []
        message = {"op": "sign_in", "user": name, "password": name * 3, "console": f"c{index}"}
        self.core._people.handle(message, answers.append)
        for _ in range(100_000):
            if self.core._people.finished() or answers:
                break
            self._wait()
        if not answers or "session" not in answers[0]:
            raise RuntimeError(f"cannot sign in: {answers}")
        for area in self._areas[:-1] if index == 0 else self._areas[-1:]:
            taking = {"op": "take_area", "session": answers[0]["session"], "area": area}
            self.core._people.handle(taking, answers.append)
        return str(answers[0]["session"])

    def _wait(self) -> None:
        readable(self.core._people.fileno(), 0.1)

    def service(self, name: str) -> Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]:
        """How to ask one."""
        if name == "command":
            return self.core._commands.handle
        if name == "session":
            return self.core._people.handle
        keeper = self.core._keepers[name]
        return lambda message, reply: reply(keeper.handle(message))

    @property
    def names(self) -> tuple[str, ...]:
        """Services of the core."""
        return ("command", "session", *sorted(self.core._keepers))

    def seeds(self) -> list[bytes]:
        times = {"seen_mono_ns": "$n", "issued_mono_ns": "$n", "issued_utc_ns": "$u", "expires_mono_ns": "$e"}
        area, alarm = self._areas[0], self._alarm_ids[0]
        requests: list[tuple[str, dict[str, Any]]] = []
        for point, unit, value in self._operable:
            common = {"session": "$0", "point": point, "reason": "r"}
            sent = {**common, **times, "command_id": "$c", "value": value, "unit": unit, "seen_value": value}
            requests += [
                ("command", {"op": "select", "session": "$0", "point": point}),
                ("command", {"op": "check", "session": "$0", "select_id": "$s", "value": value}),
                ("command", {"op": "execute", **sent, "select_id": "$s", "accept_warnings": True}),
                ("command", {"op": "cancel", "session": "$0", "select_id": "$s"}),
                ("command", {"op": "second", "session": "$1", "command_id": "$c", "point": point, "value": value}),
                ("command", {"op": "write", **sent}), ("command", {"op": "write", **sent, "session": "$2"}),
                ("command", {"op": "give_back", "session": "$0", "points": [point], "reason": "r"}),
                ("command", {"op": "place_tag", "session": "$1", "scope": point, "kind": "caution", "reason": "r",
                             "review_s": 3600.0}),
                ("command", {"op": "remove_tag", "session": "$1", "tag_id": "$t", "reason": "r"}),
                ("overrides", {"op": "substitute", **common, "value": value, "for_s": 60.0}),
                ("overrides", {"op": "block", **common, "for_s": 60.0}), ("overrides", {"op": "restore", **common}),
            ]  # fmt: skip
        for lease in self._leases:
            held = {"session": "$2", "name": lease}
            requests += [
                ("command", {"op": "lease", **held, "points": self._points[:2], "ttl_s": 5.0, "reason": "r"}),
                ("command", {"op": "renew", **held, "lease_id": "$l"}),
                ("command", {"op": "release", **held, "lease_id": "$l"}),
            ]
        requests += [
            ("command", {"op": "gate", "session": "$1", "read_only": True, "reason": "r"}),
            ("command", {"op": "gate", "session": "$1", "read_only": False, "reason": "r"}),
            ("tags", {"op": "describe", "pattern": "jincheon.*", "limit": 10, "offset": 0}),
            *(("alarms", {"op": op, "session": "$0", "alarm_id": alarm, "reason": "r", "for_s": 60.0})
              for op in ("ack", "reset", "shelve", "unshelve", "out_of_service", "return_to_service")),
            ("alarms", {"op": "ack_group", "session": "$0", "group": "g"}),
            *(("session", {"op": op, "session": "$1", "area": area, "reason": "r", "to": "kim", "force": True})
              for op in ("take_area", "release_area", "hand_over", "accept_area")),
            ("session", {"op": "sign_in", "user": "nobody", "password": "x", "console": "c"}),
        ]  # fmt: skip
        requests += [(service, {"op": op, "session": "$0"}) for service in self.names for op in OPS]
        names = self.names
        single = [bytes([names.index(service)]) + packed(one) for service, one in requests if service in names]
        ticks = [bytes([TICK, one]) for one in (1, 5, 14, 100, 250)]
        return [*single, *ticks, *(bytes([SCRIPT]) + framed(one) for one in self._scripts(names.index("command")))]

    def _scripts(self, command: int) -> list[list[bytes]]:
        """Whole operations: what mutations of single requests would seldom put together."""
        found = []
        for point, unit, value in self._operable:
            sent = {"session": "$0", "point": point, "reason": "r", "command_id": "$c", "value": value, "unit": unit,
                    "seen_value": value, "seen_mono_ns": "$n", "issued_mono_ns": "$n", "issued_utc_ns": "$u",
                    "expires_mono_ns": "$e", "select_id": "$s", "accept_warnings": True, "retyped": point}  # fmt: skip
            steps = [
                {"op": "select", "session": "$0", "point": point},
                {"op": "check", "session": "$0", "select_id": "$s", "value": value}, {"op": "execute", **sent},
                {"op": "second", "session": "$1", "command_id": "$p", "point": point, "value": value},
                {"op": "execute", **sent, "command_id": "$p"},
                {"op": "cancel", "session": "$0", "select_id": "$s"},
            ]  # fmt: skip
            asked = [bytes([command]) + packed(one) for one in steps]
            found += [asked, [one for step in asked for one in (step, bytes([TICK, 4]))]]
        return found

    def run(self, data: bytes) -> None:
        if data and data[0] == SCRIPT:
            for one in unframed(data[1:]):
                self._one(one)
        else:
            self._one(data)

    def _one(self, data: bytes) -> None:
        if not data:
            return
        self.frames += 1
        if data[0] == TICK:
            self._tick((data[1] if len(data) > 1 else 1) * 60_000_000)
            return
        self.clock.advance_ns(1 + data[0] * 100_000)
        if self.frames % 64 == 0:
            self._step()
        if self.frames % MENDED_EVERY == 0:
            self._mend()
        try:
            message = unpack_map(data[1:], REQUEST_LIMITS)
        except FrameError:
            return
        message = {key: self._meant(value) for key, value in message.items()}
        if message.get("op") in ("sign_out", "lock") and message.get("session") in self._sessions:
            return  # nothing could be operated by anybody from then on
        if message.get("op") in ("sign_in", "unlock") and message.get("user", "kim") in ("kim", "park"):
            return  # a tenth of a second and 64 MB each: what is behind is argon2's
        name = self.names[data[0] % len(self.names)]
        if data[0] >= RAW:
            if name not in READS or refused(name, message.get("op", ""), Role.VIEWER):
                return
            message = stamped(message, "phone", Role.VIEWER)
        answers: list[dict[str, Any]] = []

        def reply(answer: dict[str, Any]) -> None:
            answers.append(answer)
            try:
                self._check(name, message, answers)
            except Finding as finding:  # told outside: the core is not to be disturbed
                self._findings.append(str(finding))

        self.service(name)(message, reply)
        if not answers and name == "command":
            self.core._commands.serve()
        self._check_forwarded()
        if self._findings:
            raise Finding(self._findings.pop())

    def _tick(self, left_ns: int) -> None:
        """Time goes on, up to 15 s in steps of the core's; people stay at their screens."""
        while left_ns > 0:
            self.clock.advance_ns(min(left_ns, 200_000_000))
            left_ns -= 200_000_000
            self._step()
            self._check_forwarded()
            self.alive = max(self.alive, self.core._commands.server.status()["system.commands.running"])
        for index, name in enumerate(("kim", "park")):
            answers: list[dict[str, Any]] = []
            self.core._people.handle({"op": "touch", "session": self._sessions[index]}, answers.append)
            if answers[0].get("outcome") == "refused":
                self._sessions[index] = self._sign_in(name, index)
        if self._findings:
            raise Finding(self._findings.pop())

    def _mend(self) -> None:
        """Gate, safety tags and areas as at the beginning: else a lucky request early on would leave little to find."""
        kim, park = self._sessions[:2]
        answers: list[dict[str, Any]] = []
        commands, people = self.core._commands.handle, self.core._people.handle
        commands({"op": "gate", "session": park, "read_only": False, "reason": "r"}, answers.append)
        commands({"op": "safety_tags"}, answers.append)
        for tag in answers[-1]["safety_tags"]:
            commands({"op": "remove_tag", "session": park, "tag_id": tag["tag_id"], "reason": "r"}, answers.append)
        for area in self._areas[:-1]:
            people({"op": "release_area", "session": park, "area": area}, answers.append)
            people({"op": "take_area", "session": kim, "area": area}, answers.append)
        people({"op": "release_area", "session": kim, "area": self._areas[-1]}, answers.append)
        people({"op": "take_area", "session": park, "area": self._areas[-1]}, answers.append)

    def _step(self) -> None:
        self._refresh()
        self.core._commands.step()
        self.core._commands.look()
        self.core._commands.serve()
        self.core._people.step()
        self.core._desk.step()

    def _check_forwarded(self) -> None:
        """What holds of every command that left the core."""
        while self._bus.forwarded:
            now, command = self._bus.forwarded.pop()
            self.left += 1
            tag, value = self._tags.get(command["point"]), command["value"]
            # an id is remembered until its command is worthless; used again after that with new times, it is no replay
            if now < self._sent.get(command["command_id"], 0):
                raise Finding(f"command {command['command_id']!r} left twice")
            self._sent[command["command_id"]] = command["expires_mono_ns"]
            if not tag.low <= value <= tag.high:
                raise Finding(f"{value} left for {tag.name}, which takes {tag.low} … {tag.high}")
            if now >= command["expires_mono_ns"]:
                raise Finding(f"command {command['command_id']!r} left after its time")
            if command["author"] not in ("kim", "park", "control"):
                raise Finding(f"a command of {command['author']!r} left")

    def _meant(self, value: Any) -> Any:
        """What stands for ``$0`` and the like: secrets of this run, times, ids that the core gave."""
        if not isinstance(value, str) or len(value) != 2 or value[0] != "$":
            return value
        now = self.clock.mono_ns()
        if value[1] in "012":
            return self._sessions[int(value[1])]
        return {
            "n": now, "u": self.clock.utc_ns(), "e": now + 10**10, "c": f"c{self.frames}", **self._given,
        }.get(value[1], value)  # fmt: skip

    def _check(self, name: str, message: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        if len(answers) > 1:
            raise Finding(f"{len(answers)} answers to one request")
        for answer in answers:
            self.answered += 1
            msgpack.packb(answer)
            outcome = answer.get("outcome")
            self.answers[str(outcome)] = self.answers.get(str(outcome), 0) + 1
            if outcome == "refused" and not (answer.get("code") and answer.get("text_ko") and answer.get("text_en")):
                raise Finding(f"a refusal without code or texts: {answer}")
            for letter, key in (("s", "select_id"), ("t", "tag_id"), ("l", "lease_id"), ("v", "value")):
                if key in answer:
                    self._given[letter] = answer[key]
            if outcome in ("accepted", "awaiting_second"):
                self._given["p"] = message.get("command_id", "")
            self.codes[str(answer.get("code"))] = self.codes.get(str(answer.get("code")), 0) + 1
            if outcome not in CHANGING:
                continue
            self.changed += 1
            if message.get("session") not in self._sessions:
                raise Finding(f"{name} did {message!r} for nobody: {answer!r}"[:600])
            if message.get("remote_key") and name != "session":
                raise Finding(f"{name} did {message!r} for a viewer's key: {answer!r}"[:600])
            if outcome == "accepted" and message.get("op") in ("execute", "write"):
                if self.clock.mono_ns() < self._accepted.get(message["command_id"], 0):
                    raise Finding(f"command {message['command_id']!r} was accepted twice")
                self._accepted[message["command_id"]] = message["expires_mono_ns"]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        if len(data) < 2 or rng.random() < 0.35:
            data = rng.choice(self.seeds_once())
        if data[0] == TICK:
            return bytes([TICK, rng.randrange(1, 256) if rng.random() < 0.2 else rng.randrange(1, 20)])
        if data[0] == SCRIPT:
            return data[:1] + framed(self._mixed(unframed(data[1:]), rng))
        first = bytes([rng.randrange(TICK)]) if rng.random() < 0.1 else data[:1]
        content = as_map(data[1:]) if rng.random() < 0.85 else None
        if content is None:
            return first + changed_bytes(data[1:], rng)
        mutated_map(content, rng, self._words, KEYS)
        return first + packed(content)

    def _mixed(self, requests: list[bytes], rng: random.Random) -> list[bytes]:
        """Requests with one of them changed, again, left out or out of order."""
        if not requests:
            return [rng.choice(self.seeds_once())]
        at, step = rng.randrange(len(requests)), rng.random()
        if step < 0.4:
            content = as_map(requests[at][1:])
            if content is not None:
                mutated_map(content, rng, self._words, KEYS)
                requests[at] = requests[at][:1] + packed(content)
        elif step < 0.6:
            requests.insert(rng.randrange(len(requests) + 1), requests[at])
        elif step < 0.75:
            requests.pop(at)
        elif step < 0.9:
            other = rng.randrange(len(requests))
            requests[at], requests[other] = requests[other], requests[at]
        else:
            tick = bytes([TICK, rng.randrange(1, 40)])
            requests.insert(at, rng.choice((rng.choice(self.seeds_once())[:4_000], tick)))
        return requests

    def close(self) -> None:
        for writer, _ids in self._writers:
            writer.close()
        self.core.close()
        self._bus.close()
        for one in (self._stop_read, self._stop_write):
            os.close(one)
        shutil.rmtree(self.folder, ignore_errors=True)


class AnswersTarget(Target):
    """Answers at a client."""

    name = "answers"

    def __init__(self) -> None:
        self._table = TagTable.build([Tag(f"a.b{index}.x_w", "W", "field") for index in range(40)])
        ids = np.arange(40, dtype=np.uint32)
        frame = Scan(ids, np.ones(40), np.zeros(40, np.uint16), np.full(40, 5), 0, "", 0).encode()
        self._good = {
            "outcome": "snapshot", "layout": self._table.sha256, "mono_ns": 5, "utc_ns": 6,
            "cuts": {"field": [5, 6]}, "frames": [frame], "received": [bytes(320)],
        }  # fmt: skip
        self._words = (*self._good.values(), frame, [frame, frame], [b""], {"field": [1]}, {"x": [2**63, 1]})

    def seeds(self) -> list[bytes]:
        return [packed(self._good), packed({"outcome": "refused", "text_en": "x"}), packed({"error": "x"})]

    def run(self, data: bytes) -> None:
        self.frames += 1
        try:
            answer = unpack_map(data, ANSWER_LIMITS)
            picture = TagPicture.read(answer, self._table)
        except (FrameError, SnapshotError):
            return
        now = picture.now
        check_scan(
            Scan(np.arange(len(now.value), dtype=np.uint32), now.value, now.quality, now.source_utc_ns, 0, "", 0),
            self._table.n,
        )

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        content = as_map(data) if rng.random() < 0.85 else None
        if content is None:
            return changed_bytes(data or self.seeds_once()[0], rng)
        frames = content.get("frames")
        if isinstance(frames, list) and frames and isinstance(frames[0], bytes) and rng.random() < 0.3:
            inner = as_map(frames[0])
            if inner:
                content["frames"] = [changed_columns(inner, rng), *frames[1:]]
                return packed(content)
        mutated_map(content, rng, self._words, tuple(self._good))
        return packed(content)


NASTY_TOML = (
    b"nan", b"inf", b"-1", b"1e400", b"[]", b"{}", b'""', b"true", b"[[]]", b'["x", 1]', b"2**9",
    b"99999999999999999999", b"1979-05-27", b'"\\u0000"', b"[{}]", b'"remote"',
)  # fmt: skip


class SiteTarget(Target):
    """Files of a site at the reader of configurations."""

    name = "site"
    FILES = ("site.toml", "areas.toml", "operations.toml", "alarms.toml", "tags/system.toml")

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"gw-fuzz-{os.getpid()}-", dir="/dev/shm"))
        (self._folder / "tags").mkdir()
        self._texts = {
            name: (CHUNGBUK / name).read_bytes() if (CHUNGBUK / name).exists() else b"" for name in self.FILES
        }

    def seeds(self) -> list[bytes]:
        remote = b'\n[remote]\nlisten = "10.0.0.1"\ntopics = ["scan"]\n'
        return [bytes([0]) + self._texts["site.toml"] + remote] + [
            bytes([index]) + self._texts[name][:3_000] for index, name in enumerate(self.FILES)
        ]

    def run(self, data: bytes) -> None:
        if not data:
            return
        self.frames += 1
        chosen = self.FILES[data[0] % len(self.FILES)]
        for name in self.FILES:
            path = self._folder / name
            if name == chosen:
                path.write_bytes(data[1:])
            elif name == "site.toml":
                path.write_bytes(self._texts[name])
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(ConfigErrors):
            load_site(self._folder)

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        if len(data) < 2 or rng.random() < 0.1:
            data = rng.choice(self.seeds_once())
        if rng.random() < 0.5:
            lines = data[1:].split(b"\n")
            at = rng.randrange(len(lines))
            key = lines[at].split(b"=")[0]
            value = rng.choice(NASTY_TOML)
            other = lines[rng.randrange(len(lines))]
            lines[at] = rng.choice((key + b"= " + value, lines[at] + b"\n" + lines[at], b"", other))
            return data[:1] + b"\n".join(lines)
        return data[:1] + changed_bytes(data[1:], rng)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class ModbusTarget(Target):
    """Streams at the judgement of the fast lane, and registers at its decoder."""

    name = "modbus"
    HEAD = struct.Struct(">BHBBHB")  # framing, transaction, unit, function, address, count
    FUNCTIONS = (3, 4, 16)

    def __init__(self) -> None:
        places = [Place(0, "int16", 2), Place(1, "uint16"), Place(3, "float32"), Place(5, "acc32")]
        places.append(Place(7, "u16", mask=8))
        self._table = PointTable(0, [Cell(at, one, low=-1e5, high=1e5) for at, one in enumerate(places)])
        self.taken = 0

    def seeds(self) -> list[bytes]:
        found = []
        for ask in hostile_frames(400, 11):
            head = self.HEAD.pack(ask.framing, ask.transaction, ask.unit, ask.function, ask.address, ask.count)
            found.append(head + ask.data)
        return found

    def run(self, data: bytes) -> None:
        self.frames += 1
        if len(data) < self.HEAD.size:
            return
        framing, transaction, unit, function, address, count = self.HEAD.unpack_from(data)
        function = function if function in self.FUNCTIONS else self.FUNCTIONS[function % 3]
        count = min(max(count, 1), 125)
        ask = Ask(framing & 1, transaction, unit, function, min(address, 65_536 - count), count, data[self.HEAD.size :])
        asked = (ask.transaction, ask.unit, ask.function, ask.address, ask.count)
        for end in {len(ask.data), len(ask.data) // 2, max(len(ask.data) - 1, 0)}:
            stream = ask.data[:end]
            found = modbus_poller.judge(ask.framing, stream, *asked)
            if found != modbus_twin.judge(ask.framing, stream, *asked):
                raise Finding("the kernel and its twin judge a stream differently")
            if (found[0] == modbus_poller.OK) != is_right(replace(ask, data=stream)):
                raise WrongGood("an answer was taken that is not what was asked for, or a right one refused")
            if found[0] == modbus_poller.OK and len(found[3]) >= 2 * self._table.count:
                self.taken += 1
                self._decode(found[3])

    def _decode(self, registers: bytes) -> None:
        values, quality = self._table.decode(registers)
        good = quality & 0xC000 == 0
        if not (np.isfinite(values[good]).all() and (np.abs(values[good]) <= 1e5).all()):
            raise WrongGood("a value that is called good and is not")


class CameraTarget(Target):
    """What a camera sends on its RTSP connection, from its first answer to sound in the ring."""

    name = "camera"
    SDP = (
        b"v=0\r\nm=audio 0 RTP/AVP 0 97 96 98\r\na=rtpmap:97 L16/16000\r\na=rtpmap:98 opus/48000/2\r\n"
        b"a=rtpmap:96 mpeg4-generic/16000/1\r\na=fmtp:96 mode=AAC-hbr;config=1408\r\na=control:a\r\n"
    )

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"gw-fuzz-{os.getpid()}-", dir="/dev/shm"))
        self._ring = RingWriter.open(self._folder / "audio", ["mic01"])
        self._formats = choose_track(self.SDP, "rtsp://a/b").formats
        self.taken = 0

    def seeds(self) -> list[bytes]:
        ok = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n"
        talk = ok % 1 + b"Public: GET_PARAMETER\r\n\r\n"
        talk += ok % 2 + b"Content-Length: %d\r\n\r\n" % len(self.SDP) + self.SDP
        talk += ok % 3 + b"Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n" + ok % 4 + b"\r\n"
        packets = []
        for kind in (0, 97, 96, 98):
            payload = b"\0\x10\0\x40" + bytes(8) if kind == 96 else bytes(range(40))
            heads = (struct.pack(">BBHII", 0x80, kind, index, 320 * index, 7) for index in range(3))
            packets += [b"$\0" + (12 + len(payload)).to_bytes(2, "big") + head + payload for head in heads]
        report = rtcp.sender_report(7, 10**18, 320, 3, 90)
        packets.append(b"$\1" + len(report).to_bytes(2, "big") + report)
        challenge = b'WWW-Authenticate: Digest realm="a", nonce="b"\r\n\r\n'
        refusals = [ok % 1 + b"\r\nRTSP/1.0 401 No\r\nCSeq: 2\r\n" + challenge,
                    b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: rtsp://a/c\r\n\r\n"]  # fmt: skip
        whole = talk + b"".join(packets)
        return [talk, *packets, *refusals, whole, b"".join(packets[:4]), *(talk + one for one in packets)]

    def run(self, data: bytes) -> None:
        self.frames += 1
        session = Session("rtsp://a/b", CameraLogin("u", "p"), "auto", bytes)
        session.start()
        order, clock = Order(), VirtualClock()
        intake, mixer = Intake(0, self._ring, self._formats, order.counts), Mixer(1)
        begun = self._ring.head(0)
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            for channel, content in session.receive(piece):
                clock.advance_ns(20_000_000)
                if channel % 2:
                    rtcp.parse(content)
                elif (packet := rtp.parse(content, clock.mono_ns())) is not None:
                    self._check(intake, mixer, order.take(packet))
        self._check(intake, mixer, order.overdue(10**15))
        if any(line.count("\r") or line.count("\n") for line in session.out.decode().split("\r\n")):
            raise Finding("an answer of the camera came to stand in a request of ours")
        if (session.failure == "") == (session.phase.name == "FAILED"):
            raise Finding("a session that failed without a reason")
        if self._ring.head(0).position < begun.position:
            raise Finding("the ring went back")

    def _check(self, intake: Intake, mixer: Mixer, packets: tuple[rtp.RtpPacket, ...]) -> None:
        for one in packets:
            before = self._ring.head(0)
            mixer.take([(intake, one)])
            after = self._ring.head(0)
            self.taken += after.position > before.position
            if one.payload_type not in self._formats and after != before:
                raise WrongGood("sound from packets that nobody described")

    def close(self) -> None:
        self._ring.close()
        shutil.rmtree(self._folder, ignore_errors=True)


TARGETS = {
    one.name: one
    for one in (BusTarget, ColumnsTarget, ServicesTarget, AnswersTarget, SiteTarget, ModbusTarget, CameraTarget)
}
