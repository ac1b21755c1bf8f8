"""Forwards the history to a server that takes ``/api/v2/write``: InfluxDB 2 and 3, VictoriaMetrics.

influxdb-client carries the bytes; its batching is not used, because it gives points up after a few retries and keeps
them in memory until then. Here nothing is queued: the history itself is the queue and a position in it is all that is
kept. A position is written down only after the server has acknowledged.

A server's acknowledgement is not durability: VictoriaMetrics answers before its disk has the data and loses the last
seconds when it is killed. So after every outage what was acknowledged within ``replay_s`` before is sent again.
InfluxDB takes the same point twice as one; VictoriaMetrics does with ``-dedup.minScrapeInterval=1ms``. An outage
longer ago than ``replay_s``, or a server that loses older data, is beyond what a forwarder can mend: the archive is
the record.
"""

from __future__ import annotations

import json
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from gwanje.core.clock import NS_PER_S, Clock, boot_id
from gwanje.historian.config import InfluxConfig, url_problem
from gwanje.historian.files import HistoryError, LineLog, make_durable_directory, write_atomically
from gwanje.historian.follow import Follower, Position, Stretch
from gwanje.historian.sinks.lineprotocol import encode

IDLE_S = 1.0
"""Between looks for new points once everything is forwarded."""
RETRY_S = 0.5
"""First pause after a failure; doubled up to ``retry_s_max``."""
SAVE_EVERY_S = 1.0
"""The position is written down at most this often; what lies between is sent again after a restart."""
MARK_EVERY_S = 5.0
"""Spacing of the marks that a replay goes back to."""
POISON_PART_MAX = 0.1
"""A server that refuses more than this part of a batch refuses us, not the points: nothing is quarantined then."""
POISON_MIN = 8
"""…but so few may always be quarantined, also from a small batch."""


class SinkError(Exception):
    """The forwarder cannot be set up; one line for the user."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server acknowledged."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server read the request and will not take it (400, 422)."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request is too large for the server (413)."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Later, perhaps.

    Attributes:
        reason: for people.
        retry_after_s: what the server asked for; 0 when nothing.
        lost_contact: the connection failed, so the server may have restarted and lost what it had acknowledged.
    """

    reason: str
    retry_after_s: float = 0.0
    lost_contact: bool = False


Outcome = Delivered | Refused | TooLarge | Unavailable


class Server(Protocol):
    """Where lines go."""

    def write(self, body: bytes) -> Outcome:
        """Deliver lines; returns when the server has answered or cannot."""

    def close(self) -> None:
        """Close connections."""


class InfluxServer:
    """A server behind ``/api/v2/write``, through influxdb-client."""

    def __init__(self, config: InfluxConfig) -> None:
        """Prepare the client; nothing is sent yet.

        Raises:
            SinkError: the address may not be used, or the token cannot be read.
        """
        if reason := url_problem(config.url):
            raise SinkError(reason)
        self._config = config
        self._client = InfluxDBClient(
            url=config.url,
            token=read_token(config.token_file),
            org=config.org,
            timeout=int(config.timeout_s * 1000),
            enable_gzip=config.url.startswith("https"),
            retries=False,  # neither retries nor redirects: a redirect could carry the token elsewhere
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, body: bytes) -> Outcome:
        """See :class:`Server`."""
        try:
            self._write_api.write(self._config.bucket, self._config.org, body, write_precision=WritePrecision.NS)
        except ApiException as error:
            return outcome_of(error)
        except (HTTPError, OSError) as error:
            return Unavailable(f"{self._config.url}: {_first_line(str(error))}", lost_contact=True)
        return Delivered()

    def close(self) -> None:
        """See :class:`Server`."""
        self._write_api.close()
        self._client.close()


def outcome_of(error: ApiException) -> Outcome:
    """What an HTTP answer that is no success means."""
    status = int(error.status or 0)
    said = _first_line(str(error.body or error.reason or ""))
    if status in (400, 422):
        return Refused(said)
    if status == 413:
        return TooLarge()
    return Unavailable(f"HTTP {status} {said}".strip(), _retry_after_s(error.headers))


def _retry_after_s(headers: Any) -> float:
    value = headers.get("Retry-After", "") if headers is not None else ""
    return float(value) if str(value).isdigit() else 0.0


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def read_token(path: str) -> str:
    """The token of a key file; no file, no token.

    Raises:
        SinkError: it cannot be read, is empty, or others may read it.
    """
    if not path:
        return ""
    file = Path(path)
    try:
        mode = file.stat().st_mode
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkError(f"token_file {path}: {getattr(error, 'strerror', None) or 'is not ASCII text'}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SinkError(f"token_file {path}: others may read it; chmod 600")
    if not token:
        raise SinkError(f"token_file {path}: is empty")
    return token


@dataclass(slots=True)
class Marks:
    """When which sequence had been acknowledged, for as long back as a replay may go."""

    replay_ns: int
    kept: deque[tuple[int, int]]

    def note(self, mono_ns: int, sequence: int) -> None:
        """Remember a moment."""
        if not self.kept or mono_ns - self.kept[-1][0] >= MARK_EVERY_S * 1e9:
            self.kept.append((mono_ns, sequence))
        while len(self.kept) > 1 and self.kept[1][0] <= mono_ns - self.replay_ns:
            self.kept.popleft()

    def oldest(self) -> int:
        """Where a replay begins."""
        return self.kept[0][1]


class InfluxForwarder:
    """Follows the history and delivers it; :meth:`step` is one turn, the thread repeats it."""

    def __init__(
        self,
        directory: Path,
        config: InfluxConfig,
        clock: Clock,
        acknowledged: Callable[[], int],
        server: Server | None = None,
    ) -> None:
        """Take up where the last one stopped.

        Args:
            directory: the history.
            config: settings.
            clock: for replay.
            acknowledged: sequence up to which points are durable here.
            server: where to; the configured one by default.

        Raises:
            SinkError: address, token or the kept position are unusable.
            OSError: the history cannot be written.
        """
        place = directory / "sinks"
        make_durable_directory(place)
        self._path = place / "influx.json"
        try:
            self._quarantine = LineLog(place / "influx-quarantine.jsonl")
        except HistoryError as error:
            raise SinkError(str(error)) from None
        self._config = config
        self._clock = clock
        self._acknowledged = acknowledged
        self._server: Server = server or InfluxServer(config)
        self._follower = Follower(directory, acknowledged)
        self._marks = Marks(int(config.replay_s * NS_PER_S), deque())
        self._position, replay_from = self._restore()
        self._marks.note(clock.mono_ns(), replay_from)
        self._unsaved = False
        self._stretch: Stretch | None = None
        self._taken = 0
        self._saved_mono_ns = clock.mono_ns()
        self._lost_contact = False
        self._pause_s = RETRY_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self.error = ""
        self.quarantined = 0

    def reached(self) -> int | None:
        """See :class:`~gwanje.historian.sinks.Forwarder`."""
        return self._position.sequence

    def behind(self) -> int:
        """See :class:`~gwanje.historian.sinks.Forwarder`."""
        return max(0, self._acknowledged() - self._position.sequence - self._position.row)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """See :class:`~gwanje.historian.sinks.Forwarder`."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Write the position down and close, when no thread runs."""
        self._save()
        self._server.close()
        self._quarantine.close()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            try:
                pause_s = self.step()
            except Exception as error:  # noqa: BLE001 - told and tried again: a dead forwarder would only fall behind
                self.error = f"the history cannot be followed: {error or type(error).__name__}"
                pause_s = self._backed_off(0.0)
        self.close()

    def step(self) -> float:
        """Deliver one batch; returns the pause in seconds before the next.

        Raises:
            OSError: the history cannot be read or the position not be written.
            HistoryError: the history is damaged.
        """
        if self._stretch is None:
            self._stretch, self._taken = self._follower.next(self._position), 0
        if self._stretch is None:
            if self._unsaved:
                self._save()
            return IDLE_S
        stretch, first = self._stretch, self._taken
        end = min(len(stretch.points), first + self._config.batch_points)
        lines = encode(stretch.points[first:end], stretch.names, self._config.measurement)
        outcome = self._deliver(lines)
        if isinstance(outcome, Unavailable):
            self.error = outcome.reason
            self._lost_contact = self._lost_contact or outcome.lost_contact
            return self._backed_off(outcome.retry_after_s)
        self.error = ""
        self._pause_s = RETRY_S
        if self._lost_contact:
            self._replay()
            return 0.0
        self._advance(stretch, end)
        return 0.0

    def _advance(self, stretch: Stretch, end: int) -> None:
        self._position = stretch.position(end)
        self._unsaved = True
        self._taken = end
        if end == len(stretch.points):
            self._stretch = None
        now = self._clock.mono_ns()
        self._marks.note(now, self._position.sequence)
        if now - self._saved_mono_ns >= SAVE_EVERY_S * 1e9:
            self._save()

    def _replay(self) -> None:
        """Contact is back: go back to what may have been lost with the server."""
        self._lost_contact = False
        self._stretch = None
        self._position = Position(min(self._marks.oldest(), self._position.sequence))
        self._marks.kept.clear()
        self._marks.note(self._clock.mono_ns(), self._position.sequence)
        self._save()

    def _backed_off(self, at_least_s: float) -> float:
        pause_s = max(self._pause_s, min(at_least_s, self._config.retry_s_max))
        self._pause_s = min(self._pause_s * 2, self._config.retry_s_max)
        return pause_s

    # ---- batches that are refused

    def _deliver(self, lines: Sequence[str]) -> Delivered | Unavailable:
        """Deliver lines; those that the server refuses one by one go to the quarantine."""
        poison: list[tuple[str, str]] = []
        limit = max(POISON_MIN, int(len(lines) * POISON_PART_MAX))
        outcome = self._bisect(lines, poison, limit)
        if isinstance(outcome, Unavailable):
            return outcome
        for line, reason in poison:
            self._quarantine.append({"utc_ns": self._clock.utc_ns(), "reason": reason, "line": line})
            self.quarantined += 1
        return outcome

    def _bisect(self, lines: Sequence[str], poison: list[tuple[str, str]], limit: int) -> Delivered | Unavailable:
        if not lines:
            return Delivered()
        outcome = self._server.write("\n".join(lines).encode())
        if isinstance(outcome, Delivered | Unavailable):
            return outcome
        reason = outcome.reason if isinstance(outcome, Refused) else "too large for the server"
        if len(lines) == 1:
            poison.append((lines[0], reason))
            if len(poison) > limit:
                return Unavailable(f"the server refuses almost everything: {reason}")
            return Delivered()
        half = len(lines) // 2
        for part in (lines[:half], lines[half:]):
            inner = self._bisect(part, poison, limit)
            if isinstance(inner, Unavailable):
                return inner
        return Delivered()

    # ---- the position on disk

    def _save(self) -> None:
        record = {
            "sequence": self._position.sequence,
            "row": self._position.row,
            "replay_sequence": min(self._marks.oldest(), self._position.sequence),
            "boot_id": boot_id(),
            "url": self._config.url,
            "bucket": self._config.bucket,
        }
        write_atomically(self._path, json.dumps(record).encode())
        self._unsaved = False
        self._saved_mono_ns = self._clock.mono_ns()

    def _restore(self) -> tuple[Position, int]:
        """Where to go on, and where a replay would begin.

        A new server gets everything; after a reboot, which may have taken server and machine down together, the replay
        comes first.
        """
        try:
            record = json.loads(self._path.read_bytes())
            replay_from = int(record["replay_sequence"])
            if (record["url"], record["bucket"]) != (self._config.url, self._config.bucket):
                return Position(), 0
            if record["boot_id"] != boot_id():
                return Position(replay_from), replay_from
            return Position(int(record["sequence"]), int(record["row"])), replay_from
        except FileNotFoundError:
            return Position(), 0
        except (ValueError, KeyError, TypeError) as error:
            raise SinkError(f"{self._path}: damaged ({error}); remove it to send everything again") from None
