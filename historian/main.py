"""The historian part: everything that is said on the bus is recorded, and the recorder's own figures become tags.

The loop wakes ten times a second, not for every message: the bus queues what comes in between, and a group commit
takes it as one. A writer thread waits for the disk so that the bus is never left unheard.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.historian.columns import alarm_row, event_row
from gwanje.historian.config import HistorianConfig
from gwanje.historian.files import Disk, HistoryError
from gwanje.historian.recorder import RETRY_S, Counts, Recorder, State
from gwanje.historian.sealing import SealThread
from gwanje.historian.sinks import Forwarder

TOPICS = ("scan", "past", "event", "alarm")
HIGH_WATER = 20_000
"""Messages the bus may hold for us: about half a minute of the city, should this process not get to run."""
TAG_PREFIX = "system.historian."
TAGS = (
    "points_recorded",
    "points_acknowledged",
    "points_refused",
    "events_acknowledged",
    "backlog",
    "commit_ms",
    "spool_bytes",
    "disk_free_bytes",
    "gaps",
    "state",
    "forward_behind",
)
STOP_S = 0.6
"""Of the second that a part has to leave."""


def main(ctx: PartContext) -> None:
    """Record until asked to stop.

    Raises:
        PartError: the settings are wrong, or the history cannot be opened.
    """
    try:
        config = HistorianConfig.parse(ctx.site.historian)
        recorder = Recorder(ctx.history_dir, ctx.tags, config, ctx.clock)
    except ValueError as error:
        raise PartError(f"historian.toml: {str(error).splitlines()[0]}") from error
    except (HistoryError, OSError) as error:
        raise PartError(f"cannot record: {error}") from error
    Historian(ctx, config, recorder).run()


class WriterThread:
    """Commits what the recorder was handed, again and again."""

    def __init__(self, recorder: Recorder, config: HistorianConfig) -> None:
        self._recorder = recorder
        self._idle_s = config.seal_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Commit what is there and end; false when the disk took longer than ``timeout_s``."""
        self._stop.set()
        self._recorder.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._recorder.wait_for_work(self._stop.is_set, self._idle_s)
                if not self._recorder.commit():
                    self._stop.wait(RETRY_S)
            self._recorder.commit()
        except BaseException as error:
            self.failure = error  # the main loop raises it: a recorder that does not record must be restarted
            raise


class Historian:
    """Bus in, recorder out; one instance per process."""

    def __init__(self, ctx: PartContext, config: HistorianConfig, recorder: Recorder) -> None:
        self._ctx = ctx
        self._config = config
        self._recorder = recorder
        self._disk = Disk()
        self._publisher = ctx.bus.publisher()
        self._subscriber = ctx.bus.subscriber(TOPICS, high_water=HIGH_WATER)
        self._store = ctx.store.writer("historian")
        self._writer = WriterThread(recorder, config)
        self._forwarder = start_forwarder(config, recorder, ctx.clock)
        self._sealer = SealThread(recorder, self._forwarder.reached if self._forwarder else lambda: None)
        order = np.argsort([ctx.tags.index(TAG_PREFIX + name) for name in TAGS])
        self._tag_names = [TAGS[at] for at in order]
        self._tag_ids = ctx.tags.indices([TAG_PREFIX + name for name in self._tag_names])
        self._told = {"state": State.RECORDING.name, "seal": "", "forward": ""}

    def run(self) -> None:
        """Record until asked to stop, then commit what was heard."""
        ctx = self._ctx
        self._writer.start()
        self._sealer.start()
        tick_ns = int(self._config.commit_s * 1e9)
        deadline = ctx.clock.mono_ns()
        next_tags = deadline
        going = True
        while going:
            deadline = max(deadline + tick_ns, ctx.clock.mono_ns())
            going = ctx.clock.wait_until_mono_ns(deadline, ctx.stop_fd)
            self.drain()
            now = ctx.clock.mono_ns()
            if now >= next_tags:
                next_tags = now + NS_PER_S
                self._tell()
                self.publish()
            self._recorder.flush()
            ctx.heartbeat()
            if self._writer.failure is not None:
                raise PartError(f"the writer failed: {self._writer.failure!r}") from self._writer.failure
        self._leave()

    def drain(self) -> None:
        """Take everything the bus holds."""
        while (message := self._subscriber.receive()) is not None:
            if isinstance(message, Scan):
                self._recorder.add_scan(message.ids, message.values, message.quality, message.source_utc_ns)
            elif isinstance(message, Event):
                self._recorder.add_event(event_row(message))
            elif isinstance(message, AlarmChange):
                self._recorder.add_event(alarm_row(message))

    def publish(self, on_bus: bool = True) -> None:
        """Write the recorder's figures to its tags; on the bus too, so that they are recorded themselves."""
        values = self._figures(self._recorder.counts())
        clock = self._ctx.clock
        quality = np.zeros(len(values), dtype=np.uint16)
        times = np.full(len(values), clock.utc_ns(), dtype=np.int64)
        self._store.write(self._tag_ids, values, quality, times, clock.mono_ns())
        if on_bus:
            self._publisher.scan(self._tag_ids, values, quality, times)

    def _figures(self, counts: Counts) -> npt.NDArray[np.float64]:
        figures = {
            "points_recorded": counts.points_recorded,
            "points_acknowledged": counts.points_acknowledged,
            "points_refused": counts.points_refused + counts.points_unknown,
            "events_acknowledged": counts.events_acknowledged,
            "backlog": counts.pending_points,
            "commit_ms": counts.commit_ms,
            "spool_bytes": self._recorder.points.spooled_bytes(),
            "disk_free_bytes": self._disk.free_bytes(self._recorder.directory),
            "gaps": sum(self._subscriber.gaps.values()),
            "state": int(counts.state),
            "forward_behind": self._forwarder.behind() if self._forwarder else 0,
        }
        return np.array([figures[name] for name in self._tag_names], dtype=np.float64)

    def _tell(self) -> None:
        """Publish an event for every change between working and not working."""
        counts = self._recorder.counts()
        self._tell_change("state", counts.state.name, _STATE_TEXTS[counts.state], counts.reason)
        self._tell_change("seal", self._sealer.error, _SEAL_TEXTS[bool(self._sealer.error)], self._sealer.error)
        forward = self._forwarder.error if self._forwarder else ""
        self._tell_change("forward", forward, _FORWARD_TEXTS[bool(forward)], forward)

    def _tell_change(self, what: str, now: str, texts: tuple[str, str, str], reason: str) -> None:
        if now == self._told[what]:
            return
        self._told[what] = now
        class_name, text_ko, text_en = texts
        tail = f" ({reason})" if reason else ""
        if reason:
            self._ctx.log.warning("%s%s", text_en, tail)
        clock = self._ctx.clock
        self._publisher.event(
            Event("system", "historian", class_name, clock.utc_ns(), clock.mono_ns(), text_ko + tail, text_en + tail)
        )

    def _leave(self) -> None:
        """Commit what was heard and leave the final figures in the store."""
        deadline = self._ctx.clock.mono_ns() + int(STOP_S * 1e9)
        self.drain()
        self._recorder.flush()
        stopped = self._writer.stop(STOP_S)
        self.publish(on_bus=False)
        if self._forwarder:
            stopped &= self._forwarder.stop(_left_s(deadline, self._ctx.clock))
        stopped &= self._sealer.stop(_left_s(deadline, self._ctx.clock))
        self._subscriber.close()
        self._store.close()
        if stopped:
            self._recorder.close()  # otherwise a thread still uses the files, and leaving closes them as kill -9 would


def _left_s(deadline_mono_ns: int, clock: Clock) -> float:
    return max(0.05, (deadline_mono_ns - clock.mono_ns()) * 1e-9)


_STATE_TEXTS: dict[State, tuple[str, str, str]] = {
    State.RECORDING: ("recording_resumed", "이력 기록을 다시 시작했습니다", "recording again"),
    State.DISK_FULL: ("disk_full", "디스크가 가득 차 이력을 기록할 수 없습니다", "disk full: points wait in memory"),
    State.DISK_ERROR: ("disk_error", "디스크 오류로 이력을 기록할 수 없습니다", "disk error: points wait in memory"),
}
_SEAL_TEXTS: dict[bool, tuple[str, str, str]] = {
    False: ("sealing_resumed", "이력 보관을 다시 시작했습니다", "archiving again"),
    True: ("sealing_failed", "이력을 보관하지 못해 스풀에 남겨 둡니다", "archiving failed: the spool keeps the points"),
}
_FORWARD_TEXTS: dict[bool, tuple[str, str, str]] = {
    False: ("forwarding_resumed", "외부 데이터베이스 전송을 다시 시작했습니다", "forwarding again"),
    True: (
        "forwarding_failed",
        "외부 데이터베이스로 전송하지 못했습니다",
        "forwarding failed: the archive keeps the points",
    ),
}


def start_forwarder(config: HistorianConfig, recorder: Recorder, clock: Clock) -> Forwarder | None:
    """The Influx forwarder, started, when the site asks for one.

    Raises:
        PartError: its token cannot be read.
    """
    if not config.influx.enabled:
        return None
    # The client library is loaded only where it is used.
    from gwanje.historian.sinks.influx import InfluxForwarder, SinkError

    try:
        acknowledged = recorder.points.spool
        forwarder = InfluxForwarder(recorder.directory, config.influx, clock, lambda: acknowledged.next_sequence)
    except (SinkError, OSError) as error:
        raise PartError(f"influx: {error}") from error
    forwarder.start()
    return forwarder
