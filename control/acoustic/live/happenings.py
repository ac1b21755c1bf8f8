"""From what single nodes heard to incidents, and what follows: cameras, lamps, alarms, verdicts, checks of arrays.

Stepped by the part's own thread between two blocks of sound. The ring is read again only where something was heard, and
once in a while for the check of an array; commands are carried out by threads of their own (:mod:`.hands`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import Block
from gwanje.control.acoustic.chain import Heard as ChainHeard
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.live import desk, tell
from gwanje.control.acoustic.live.aim import aim, cameras_of, lamps_near, lamps_of
from gwanje.control.acoustic.live.arrays import Arrays, State
from gwanje.control.acoustic.live.desk import CITY_WIDE, Change, Desk, Record, What
from gwanje.control.acoustic.live.hands import Done, Hand, Job
from gwanje.control.acoustic.live.hearing import tell as listen_again
from gwanje.control.acoustic.live.places import places_of
from gwanje.control.acoustic.live.rises import Rises
from gwanje.control.acoustic.live.settings import AIR_C, Figures, LiveSettings
from gwanje.control.acoustic.live.verdicts import FILE, FILE_BYTES_MAX, WORDS, Verdicts
from gwanje.control.acoustic.where.array import AIR_C_MAX, AIR_C_MIN, speed_of_sound
from gwanje.control.acoustic.where.bearing import Bearing
from gwanje.control.acoustic.where.incidents import IncidentParams, NodeEvent
from gwanje.control.acoustic.where.position import Heard
from gwanje.core.audio_ring import RingReader
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Bus, Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.requests import Code, Refused
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import is_bad

OWNER: Final = "acoustic"
SERVICE: Final = "acoustic"
VERDICT_POINTS: Final = {f"control.acoustic.verdict_{word}": word for word in WORDS}
THUMBNAILS_MAX: Final = 50
"""4 kB each, in memory alone."""
THUMBNAIL_COLUMNS: Final = 50
"""Two seconds."""
ANSWERED_MAX: Final = 100
TURNS_MAX: Final = 3
"""Of a camera for one incident: the first bearing, the place, and once more when the place moves."""
LAMPS_NS: Final = 110 * NS_PER_S
"""Lamps that were brightened are not told again for so long: their driver gives them back after two minutes."""
SURE_M: Final = 6.0
"""A place this sure says whether a node's bearing is right."""
REQUESTS_PER_TICK: Final = 20
VOICE_BANDS: Final = 51
"""Of the 64 mel bands from 125 Hz to 7.5 kHz those up to 4.2 kHz: voices, which no thumbnail shows."""
WORDS_KO: Final = {"true": "맞음", "false": "오탐", "unsure": "모름"}


class Happenings:
    """See the module.

    Args:
        ctx: of the part.
        settings: of the site.
        publisher: of the part.
        columns: display columns of a node's last seconds, (n, 64).
    """

    def __init__(
        self, ctx: PartContext, settings: LiveSettings, publisher: Publisher,
        columns: Callable[[int], NDArray[np.uint8]],
    ) -> None:  # fmt: skip
        self._ctx, self._settings, self._publisher, self._columns = ctx, settings, publisher, columns
        self._nodes = ctx.site.nodes
        self.places = places_of(self._nodes)
        self._at = {one.name: one.xy_m for one in self.places}
        self.arrays = Arrays(self.places)
        self._rises = Rises(self.places)
        self.verdicts = Verdicts(
            StateFile(ctx.state_dir / FILE, FILE_BYTES_MAX), (one.name for one in self._nodes)
        )  # fmt: skip
        if self.verdicts.unread:
            ctx.log.warning("verdicts of earlier incidents cannot be read: %s", self.verdicts.unread)
        self.desk = Desk(self.verdicts.first)
        self._params = IncidentParams(reach_m=settings.reach_m)
        self._cameras = cameras_of(ctx.site.devices, self._nodes) if settings.cameras else ()
        self._lamps = lamps_of(ctx.site.devices, ctx.tags) if settings.lamps else ()
        self._done: deque[Done] = deque(maxlen=256)
        self._hands = {what: Hand(what, self._writer, ctx.clock, self._done) for what in ("camera", "lamps")}
        self._turned: dict[str, tuple[int, int, int]] = {}
        self._turns: dict[int, int] = {}
        self._lit: dict[str, int] = {}
        self._thumbnails: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._requests = ctx.bus.server(SERVICE)
        self._commands = ctx.bus.server(owner_service(OWNER))
        self._office = Office(
            OWNER, owner_secret(ctx.run_dir), ctx.tags, LeaseCoverage(ctx.run_dir, ctx.tags.n), ctx.clock,
            self._carry_out, read_only=False,
        )  # fmt: skip
        self.verdict_values = dict.fromkeys(VERDICT_POINTS, 0.0)
        self._air_id = ctx.tags.index(settings.temperature_tag) if settings.temperature_tag in ctx.tags else -1
        self._check = (0, 0)
        self._number = 0
        self.figures = Figures()

    def _writer(self) -> CommandClient:
        ctx = self._ctx
        return CommandClient(Bus(ctx.run_dir, OWNER, ctx.clock, ctx.tags.n), ctx.session)

    # ------------------------------------------------------------ sound

    def speed_m_s(self) -> float:
        """Of sound, in the air that the weather station tells of."""
        air_c = AIR_C
        if self._air_id >= 0:
            sample = self._ctx.store.read(self._air_id, self._ctx.clock.mono_ns())
            if not is_bad(sample.quality) and AIR_C_MIN <= sample.value <= AIR_C_MAX:
                air_c = sample.value
        self.figures = replace(self.figures, air_c=air_c)
        return speed_of_sound(air_c)

    def blocks(self, blocks: Sequence[Block]) -> None:
        """What all nodes sound like."""
        for one in blocks:
            self._rises.take(one.node_index, one.end_mono_ns, one.level_db, one.floor_db)

    def worth(self, heard: ChainHeard) -> bool:
        """Whether an event counts: not where people have said that the node takes other things for it."""
        kind = CLASS_NAMES[heard.detection.class_index]
        if heard.detection.margin >= self.verdicts.shift(self._nodes[heard.node_index].name, kind):
            return True
        self.figures = replace(self.figures, quietened=self.figures.quietened + 1)
        return False

    def heard(self, heard: Sequence[ChainHeard], ring: RingReader, fresh: Sequence[bool]) -> None:
        """Take what nodes heard: where it was, which incident it is, and what follows.

        The first event goes alone: an incident that is new is told before the places of four nodes are worked out.

        Args:
            heard: events of the chain.
            ring: with their sound.
            fresh: of each node, whether it listens now.
        """
        speed = self.speed_m_s()
        listening = {place.name: place.xy_m for place, now in zip(self.places, fresh, strict=True) if now}
        before, params = self.desk.next, desk.with_speed(self._params, speed)
        for some in (heard[:1], heard[1:]):
            events = [self._listened(one, ring, speed) for one in some if not self._far_away(one, speed, params)]
            if events:
                for change in self.desk.take(events, listening, self._ctx.clock.mono_ns(), params):
                    self._follow(change)
        if self.desk.next != before:
            self._keep_number()

    def _far_away(self, one: ChainHeard, speed_m_s: float, params: IncidentParams) -> bool:
        """Whether a node hears, far away, what is known already; then that is all."""
        place, kind = self.places[one.node_index], CLASS_NAMES[one.detection.class_index]
        record = self.desk.follows(place.xy_m, one.onset_mono_ns, kind, speed_m_s, params, one.snr_db)
        if record is None:
            return False
        said = Heard(place.name, place.xy_m, onset_ns=one.onset_mono_ns)
        event = NodeEvent(self._key(), kind, one.level_db, said)
        self.desk.attach(record, desk.Heard(event, one.node_index, one.detection.confidence))
        return True

    def _key(self) -> str:
        self._number += 1
        return f"{self._ctx.clock.mono_ns()}-{self._number}"

    def _listened(self, one: ChainHeard, ring: RingReader, speed_m_s: float) -> desk.Heard:
        """One event with its onset and bearing, from the ring; of what the whole city hears neither is asked for."""
        node, place, array = one.node_index, self.places[one.node_index], self.arrays.of[one.node_index]
        key, kind = self._key(), CLASS_NAMES[one.detection.class_index]
        if self._rises.city_wide(node, one.onset_mono_ns):
            said = Heard(place.name, place.xy_m, onset_ns=one.onset_mono_ns)
            return desk.Heard(NodeEvent(key, kind, one.level_db, said), node, one.detection.confidence, wide=True)
        told = listen_again(
            ring, node, place, one.onset_mono_ns, speed_m_s, well=self.arrays.usable(node),
            clock_sigma_s=self._settings.clock_sigma_s,
        )  # fmt: skip
        self.arrays.heard(node, told.evidence)
        said, raw = told.heard, told.heard.bearing
        if array.state is State.TURNED:
            said = replace(said, bearing=None, mirror=None)
        event = NodeEvent(key, kind, one.level_db, said)
        quality = told.bearing.quality if isinstance(told.bearing, Bearing) else 0.0
        return desk.Heard(event, node, one.detection.confidence, quality, raw=raw)

    def _keep_number(self) -> None:
        try:
            self.verdicts.save(self.desk.next)
        except OSError as error:
            self._ctx.log.warning("the number of the next incident cannot be kept: %s", error.strerror)

    # ------------------------------------------------------------ what follows

    def _follow(self, change: Change) -> None:
        """A change of an incident: cameras and lamps first, then it is told."""
        clock, record = self._ctx.clock, change.record
        now_ns = clock.mono_ns()
        if change.what is What.NEW:
            self._keep_thumbnail(record.number, self._columns(record.node))
        if record.kind != CITY_WIDE and change.what in (What.NEW, What.PLACED):
            self._turn(record, now_ns)
            self._light(record, now_ns)
        if change.what in (What.PLACED, What.MERGED):
            self._compare(self.desk.find(record.merged_into) or record)
        self._publisher.event(tell.of_change(change, self._nodes[record.node], now_ns, clock.utc_ns()))
        self._show(record)

    def _show(self, record: Record) -> None:
        newest = self.desk.records[-1]
        place = newest.place
        self.figures = replace(
            self.figures, incidents=float(self.desk.next - self.verdicts.first), number=float(newest.number),
            kind=float(CLASS_NAMES.index(newest.kind) + 1 if newest.kind in CLASS_NAMES else len(CLASS_NAMES) + 1),
            x_m=place.xy_m[0] if place else float("nan"), y_m=place.xy_m[1] if place else float("nan"),
            radius_m=place.semi_major_m if place else float("nan"), nodes=float(len(newest.nodes)),
            confidence=newest.confidence,
            city_wide=float(sum(one.kind == CITY_WIDE for one in self.desk.records)),
        )  # fmt: skip

    def _turn(self, record: Record, now_ns: int) -> None:
        """Turn the camera that sees it best, unless it looks there already or must rest."""
        bearings = {name: rad for name, (rad, _, _) in record.bearings.items()}
        place_xy_m = record.place.xy_m if record.place else None
        aimed = aim(self._cameras, bearings, place_xy_m, self._settings.camera_reach_m, self._at)
        if aimed is None or self._turns.get(record.number, 0) >= TURNS_MAX:
            return
        camera = aimed.camera
        preset, incident, at_ns = self._turned.get(camera.name, (0, 0, 0))
        rests = now_ns - at_ns < self._settings.camera_rest_s * NS_PER_S
        if rests and (incident != record.number or preset == aimed.preset):
            return
        job = Job(
            "camera", camera.name, record.number, (camera.point,), float(aimed.preset),
            f"incident {record.number}: {record.kind}", now_ns, aimed.off,
        )  # fmt: skip
        if self._hands["camera"].give(job):
            self._turned[camera.name] = aimed.preset, record.number, now_ns
            self._turns = {key: n for key, n in self._turns.items() if key > record.number - desk.KEPT}
            self._turns[record.number] = self._turns.get(record.number, 0) + 1

    def _light(self, record: Record, now_ns: int) -> None:
        """Brighten the lamps around the place, or around the node until the place is known."""
        xy_m = record.place.xy_m if record.place is not None else self.places[record.node].xy_m
        until_ns = now_ns + LAMPS_NS
        room = self._settings.lamps if record.place is not None else self._settings.lamps // 2
        near = lamps_near(self._lamps, xy_m, self._settings.lamp_reach_m, room)
        self._lit = {point: end_ns for point, end_ns in self._lit.items() if end_ns > now_ns}
        points = tuple(one.point for one in near if one.point not in self._lit)
        if not points:
            return
        reason = f"incident {record.number}: {record.kind}"
        job = Job("lamps", "", record.number, points, self._settings.lamp_level_pct, reason, now_ns)
        if self._hands["lamps"].give(job):
            self._lit |= dict.fromkeys(points, until_ns)

    def _compare(self, record: Record) -> None:
        """A sure place says of every node that took a bearing whether it is turned."""
        if record.place is None or record.place.semi_major_m > SURE_M or len(record.place.nodes) < 3:
            return
        index = {one.name: position for position, one in enumerate(self.places)}
        for name, bearing in record.raw.items():
            self.arrays.placed(index[name], record.number, bearing, record.place.xy_m)

    # ------------------------------------------------------------ between sounds

    def tick(self, ring: RingReader, positions: NDArray[np.int64]) -> None:
        """What time brings: answers of devices, requests, commands, the check of an array.

        Raises:
            PartError: a thread has ended.
        """
        for what, hand in self._hands.items():
            if hand.failure is not None:
                raise PartError(f"the thread for {what} has ended: {hand.failure!r}")
        clock = self._ctx.clock
        while self._done:
            self._became(self._done.popleft())
        for _ in range(REQUESTS_PER_TICK):
            request = self._requests.receive(0)
            if request is None:
                break
            request.reply(self.answer(request.message))
        for _ in range(REQUESTS_PER_TICK):
            asked = self._commands.receive(0)
            if asked is None:
                break
            asked.reply(self._office.answer(asked.message))
        self._check_arrays(ring, positions, clock.mono_ns())

    def _became(self, done: Done) -> None:
        clock, record = self._ctx.clock, self.desk.find(done.job.incident)
        if record is not None and done.job.what == "camera" and done.n_taken:
            record.camera, record.preset = done.job.name, round(done.job.value)
        elif record is not None and done.job.what == "lamps":
            record.lamps += done.n_taken
        if done.job.what == "camera":
            self.figures = replace(self.figures, camera_ms=(done.begun_ns - done.job.asked_ns) / 1e6)
            if not done.n_taken:  # somebody else's, or barred: told once, and left alone for this incident
                self._turned.pop(done.job.name, None)
                self._turns[done.job.incident] = TURNS_MAX
        self._publisher.event(tell.of_done(done, clock.utc_ns(), clock.mono_ns()))

    def _check_arrays(self, ring: RingReader, positions: NDArray[np.int64], now_ns: int) -> None:
        """One array at a time, all within ``check_every_s``."""
        turn, due_ns = self._check
        if not self.arrays.nodes or now_ns < due_ns:
            return
        pause_ns = round(self._settings.check_every_s * NS_PER_S / len(self.arrays.nodes))
        self._check = (turn + 1) % len(self.arrays.nodes), max(due_ns + pause_ns, now_ns)
        node = self.arrays.nodes[turn]
        if positions[node] > 0 and self.arrays.look(node, ring, int(positions[node]), self.speed_m_s()):
            clock = self._ctx.clock
            event = tell.of_array(self._nodes[node], self.arrays.of[node], clock.utc_ns(), clock.mono_ns())
            if event is not None:
                self._publisher.event(event)

    def array_states(self) -> list[float]:
        """Values of ``array_health``."""
        return [float(one.state) for one in self.arrays.of]

    # ------------------------------------------------------------ people

    def _keep_thumbnail(self, number: int, columns: NDArray[np.uint8]) -> None:
        """The seconds around an incident as a picture, in memory alone; without the bands of voices.

        Args:
            number: of the incident.
            columns: (n, 64) display columns of the node that heard it first.
        """
        shown = columns[-THUMBNAIL_COLUMNS:].copy()
        shown[:, :VOICE_BANDS] = 0
        self._thumbnails[number] = shown
        while len(self._thumbnails) > THUMBNAILS_MAX:
            self._thumbnails.popitem(last=False)

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """A request of the service ``acoustic``: incidents (with a limit), thumbnail (of an incident), or shifts."""
        clock = self._ctx.clock
        match message.get("op"):
            case "incidents":
                limit = message.get("limit", ANSWERED_MAX)
                if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= ANSWERED_MAX:
                    return {"error": f"limit must be 1…{ANSWERED_MAX}"}
                offset_ns = clock.utc_ns() - clock.mono_ns()
                newest = list(self.desk.records)[-limit:]
                return {"incidents": [one.to_message(offset_ns) for one in reversed(newest)]}
            case "thumbnail":
                columns = self._thumbnails.get(message.get("incident", 0))
                if columns is None:
                    return {"error": f"no thumbnail of incident {message.get('incident')!r} is kept"}
                return {"columns": len(columns), "bands": columns.shape[1], "levels": columns.tobytes()}
            case "shifts":
                shifts = {f"{node} {kind}": value for (node, kind), value in sorted(self.verdicts.shifts.items())}
                return {"shifts": shifts, "verdicts": dict(self.verdicts.counts)}
            case other:
                return {"error": f"unknown op {other!r}: incidents, thumbnail or shifts"}

    def _carry_out(self, command: Command) -> Refused | None:
        """An operator's verdict, as a command: its value is the number of the incident."""
        word = VERDICT_POINTS.get(command.point)
        if word is None:
            return Refused(Code.UNKNOWN_POINT, command.point)
        number = round(command.value)
        record = self.desk.find(number)
        if record is None or number != command.value:
            return Refused(Code.OWNER, f"사건 {command.value:g} 없음 / there is no incident {command.value:g}")
        part = {(self.places[node].name, kind) for node, kind in record.events.values()}
        try:
            told = self.verdicts.say(word, part, self.desk.next, record.verdict)
        except OSError as error:
            return Refused(Code.STATE, error.strerror or str(error))
        record.verdict = word
        self.verdict_values[command.point] = float(number)
        clock = self._ctx.clock
        shifts = ", ".join(f"{name} {value:+.2f}" for name, value in told.items()) or "-"
        self._publisher.event(Event(
            kind=tell.UPDATE, source=self._nodes[record.node].name, class_name=f"verdict_{word}",
            utc_ns=clock.utc_ns(), mono_ns=clock.mono_ns(),
            text_ko=f"사건 {number}: 운영자 판정 {WORDS_KO[word]} ({command.author})",
            text_en=f"incident {number}: the operator says {word} ({command.author})",
            data={"incident": number, "verdict": word, "author": command.author, "shifts": shifts[:400]},
        ))  # fmt: skip
        return None

    def close(self) -> None:
        """End the threads."""
        for hand in self._hands.values():
            hand.close(1.0)

