"""The forwarder against a server that misbehaves on command, and against VictoriaMetrics itself."""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.bench import program
from gwanje.core.clock import NS_PER_S, SystemClock, VirtualClock
from gwanje.historian.columns import Points
from gwanje.historian.config import InfluxConfig
from gwanje.historian.recorder import Recorder
from gwanje.historian.sealing import seal_closed
from gwanje.historian.sinks.influx import IDLE_S, InfluxForwarder, SinkError, read_token
from gwanje.historian.sinks.lineprotocol import encode

VICTORIA = program("victoria-metrics", "victoria-metrics-prod")


class FakeServer(ThreadingHTTPServer):
    """Keeps what it is sent as InfluxDB would: one value for each series and time.

    ``answers`` holds what the next requests get: a status, ``(status, headers)``, ``"hang"`` or ``"drop"``.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.rows: dict[tuple[str, str], str] = {}
        self.answers: list[object] = []
        self.refuses: Callable[[str], bool] = lambda _line: False
        self.max_lines = 10**9
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def values(self) -> list[float]:
        fields = [row.split(",")[0] for row in self.rows.values()]
        return sorted(float(one.removeprefix("value=")) for one in fields if one.startswith("value="))

    def end(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        server.requests.append((self.path, dict(self.headers)))
        answer = server.answers.pop(0) if server.answers else 204
        if answer == "hang":
            server.release.wait(30)
            self.close_connection = True
            return
        if answer == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        lines = body.decode().split("\n")
        if status == 204 and len(lines) > server.max_lines:
            status = 413
        elif status == 204 and any(server.refuses(line) for line in lines):
            status = 400
        elif status == 204:
            for line in lines:
                series, fields, stamp = line.rsplit(" ", 2)
                server.rows[series, stamp] = fields
        content = b"" if status == 204 else b'{"message":"as told"}'
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FakeServer]:
    one = FakeServer()
    yield one
    one.end()


@pytest.fixture
def forward(recorder: Recorder, server: FakeServer, clock: VirtualClock):
    """``forward(**settings)``: a forwarder of the recorder's history to the fake server."""
    made: list[InfluxForwarder] = []

    def make(**settings: object) -> InfluxForwarder:
        config = InfluxConfig(enabled=True, **{"url": server.url, "batch_points": 10, "timeout_s": 5.0, **settings})
        one = InfluxForwarder(recorder.directory, config, clock, lambda: recorder.points.spool.next_sequence)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def fill(recorder: Recorder, feed, first: int, n: int) -> None:
    feed(recorder, first, n)
    assert recorder.commit()


def run(forwarder: InfluxForwarder, steps_max: int = 1_000) -> list[float]:
    """Step until there is nothing left; the pauses it asked for between."""
    pauses = []
    for _ in range(steps_max):
        pause_s = forwarder.step()
        if pause_s == IDLE_S and not forwarder.error:
            return pauses
        if pause_s:
            pauses.append(pause_s)
    raise AssertionError(f"still not done: {forwarder.error}")


def test_everything_arrives_in_the_protocol_s_words(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 35)
    forwarder = forward()
    run(forwarder)
    assert server.values() == list(range(35))
    assert server.rows["gwanje,point=jincheon.ess1.soc", "1767225600000000000"] == "value=1.0,quality=0i"
    assert forwarder.behind() == 0
    assert forwarder.reached() == 35
    path, headers = server.requests[0]
    assert path == "/api/v2/write?org=gwanje&bucket=gwanje&precision=ns"
    assert len(server.requests) == 4
    assert "Authorization" not in headers


def test_the_position_is_kept_across_restarts(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 30)
    first = forward()
    run(first)
    fill(recorder, feed, 30, 30)
    asked = len(server.requests)
    second = forward()
    run(second)
    assert len(server.requests) == asked + 3
    assert server.values() == list(range(60))


def test_a_forwarder_killed_before_it_wrote_its_position_sends_again(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 30)
    killed = forward()
    killed.step()
    killed.step()
    assert len(server.rows) == 20
    run(forward())
    assert server.values() == list(range(30))


def test_another_server_gets_everything(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 30)
    run(forward())
    server.rows.clear()
    run(forward(bucket="other"))
    assert server.values() == list(range(30))


def test_what_was_sealed_long_ago_arrives_too(recorder, feed, server, forward) -> None:
    for number in range(3):
        fill(recorder, feed, number * 30, 30)
        recorder.roll()
        seal_closed(recorder)
    fill(recorder, feed, 90, 4)
    run(forward())
    assert server.values() == list(range(94))


@pytest.mark.parametrize("answer", [500, 502, 503, 429, 401, 403, 404, 301, "drop"])
def test_an_outage_of_any_kind_is_waited_out_and_told(recorder, feed, server, forward, answer) -> None:
    fill(recorder, feed, 0, 30)
    forwarder = forward()
    server.answers = [204, answer, answer, answer]
    assert forwarder.step() == 0.0
    assert [forwarder.step() for _ in range(3)] == [0.5, 1.0, 2.0]
    assert forwarder.error
    assert forwarder.behind() == 20
    run(forwarder)
    assert forwarder.error == ""
    assert server.values() == list(range(30))


def test_pauses_grow_to_their_limit_and_begin_anew(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 20)
    forwarder = forward(retry_s_max=3.0)
    server.answers = [503] * 5 + [204] + [503]
    assert run(forwarder) == [0.5, 1.0, 2.0, 3.0, 3.0, 0.5]


def test_a_server_s_own_wish_is_heeded_within_reason(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 10)
    forwarder = forward(retry_s_max=60.0)
    server.answers = [(429, {"Retry-After": "7"}), (503, {"Retry-After": "86400"})]
    assert run(forwarder) == [7.0, 60.0]
    assert server.values() == list(range(10))


def test_a_server_that_hangs_is_left_after_the_timeout(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 10)
    forwarder = forward(timeout_s=0.2)
    server.answers = ["hang"]
    assert forwarder.step() == 0.5
    assert "timed out" in forwarder.error.lower()
    run(forwarder)
    assert server.values() == list(range(10))


def test_a_server_that_is_not_there_is_waited_for(recorder, feed, clock, forward) -> None:
    fill(recorder, feed, 0, 10)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    forwarder = forward(url=f"http://127.0.0.1:{port}")
    assert forwarder.step() == 0.5
    assert "refused" in forwarder.error
    late = FakeServer(port)
    try:
        run(forwarder)
        assert late.values() == list(range(10))
    finally:
        late.end()


def test_after_an_outage_the_replay_window_is_sent_again(recorder, feed, server, forward, clock) -> None:
    """The server acknowledges, is killed, and has lost the last seconds, as VictoriaMetrics does."""
    forwarder = forward(replay_s=60.0)
    for number in range(30):
        fill(recorder, feed, number * 12, 12)
        run(forwarder)
        clock.advance_ns(10 * NS_PER_S)
    kept = {key: row for key, row in server.rows.items() if float(row.split(",")[0][6:]) < 300}
    server.rows = dict(kept)
    server.answers = ["drop"]
    asked = len(server.requests)
    fill(recorder, feed, 360, 12)
    run(forwarder)
    assert server.values() == list(range(372))
    assert server.requests[asked:], "the window is sent again"
    assert len(server.requests) - asked < 20, "and not the history"


def test_after_a_reboot_the_replay_window_is_sent_again(recorder, feed, server, forward, clock, monkeypatch) -> None:
    forwarder = forward(replay_s=60.0)
    for number in range(30):
        fill(recorder, feed, number * 12, 12)
        run(forwarder)
        clock.advance_ns(10 * NS_PER_S)
    forwarder._save()
    kept = {key: row for key, row in server.rows.items() if float(row.split(",")[0][6:]) < 300}
    server.rows = dict(kept)
    monkeypatch.setattr("gwanje.historian.sinks.influx.boot_id", lambda: "another boot")
    run(forward(replay_s=60.0))
    assert server.values() == list(range(360))


def test_poison_goes_to_quarantine_and_the_rest_arrives(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 60)
    server.refuses = lambda line: "value=13.0" in line or "value=14.0" in line or "value=50.0" in line
    forwarder = forward(batch_points=30)
    run(forwarder)
    assert server.values() == [float(value) for value in range(60) if value not in (13, 14, 50)]
    assert forwarder.quarantined == 3
    lines = (recorder.directory / "sinks" / "influx-quarantine.jsonl").read_bytes().splitlines()
    records = [json.loads(line[9:]) for line in lines]
    assert [record["line"].split("value=")[1].split(",")[0] for record in records] == ["13.0", "14.0", "50.0"]
    assert "as told" in records[0]["reason"]


def test_a_server_that_refuses_everything_quarantines_nothing(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 60)
    server.refuses = lambda _line: True
    forwarder = forward(batch_points=60)
    assert forwarder.step() == 0.5
    assert "refuses almost everything" in forwarder.error
    assert forwarder.quarantined == 0
    server.refuses = lambda _line: False
    run(forwarder)
    assert server.values() == list(range(60))


def test_batches_too_large_for_the_server_are_halved(recorder, feed, server, forward) -> None:
    fill(recorder, feed, 0, 60)
    server.max_lines = 4
    run(forward(batch_points=60))
    assert server.values() == list(range(60))


def test_a_redirect_does_not_take_the_token_elsewhere(recorder, feed, server, forward, tmp_path) -> None:
    elsewhere = FakeServer()
    key = tmp_path / "key"
    key.write_text("secret\n")
    key.chmod(0o600)
    fill(recorder, feed, 0, 5)
    server.answers = [(307, {"Location": elsewhere.url + "/api/v2/write"})]
    forwarder = forward(token_file=str(key))
    try:
        assert forwarder.step() == 0.5
        assert elsewhere.requests == []
        assert server.requests[0][1]["Authorization"] == "Token secret"
    finally:
        elsewhere.end()


def test_the_token_must_be_its_owner_s_alone(tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert read_token("") == ""
    with pytest.raises(SinkError, match="No such file"):
        read_token(str(key))
    key.write_text("  abc \n")
    key.chmod(0o640)
    with pytest.raises(SinkError, match="chmod 600"):
        read_token(str(key))
    key.chmod(0o600)
    assert read_token(str(key)) == "abc"
    key.write_text("\n")
    with pytest.raises(SinkError, match="empty"):
        read_token(str(key))
    key.write_bytes(b"\xff\xfe")
    with pytest.raises(SinkError, match="ASCII"):
        read_token(str(key))


def test_an_address_in_the_open_is_refused(recorder, clock) -> None:
    with pytest.raises(SinkError, match="https"):
        InfluxForwarder(recorder.directory, InfluxConfig(url="http://192.0.2.1:8086"), clock, lambda: 0)


def test_a_damaged_position_is_told(recorder, forward) -> None:
    (recorder.directory / "sinks").mkdir()
    (recorder.directory / "sinks" / "influx.json").write_bytes(b"{")
    with pytest.raises(SinkError, match=r"influx\.json: damaged"):
        forward()


def test_the_thread_forwards_and_stops(recorder, feed, server) -> None:
    config = InfluxConfig(enabled=True, url=server.url)
    forwarder = InfluxForwarder(
        recorder.directory, config, SystemClock(), lambda: recorder.points.spool.next_sequence
    )
    fill(recorder, feed, 0, 600)
    forwarder.start()
    deadline = SystemClock().mono_ns() + 30 * NS_PER_S
    gate = threading.Event()
    while len(server.rows) < 600:
        gate.wait(0.02)
        assert SystemClock().mono_ns() < deadline, forwarder.error
    assert forwarder.stop(10.0)
    assert json.loads((recorder.directory / "sinks" / "influx.json").read_bytes())["sequence"] == 600


# ---- line protocol


def test_names_values_and_times_are_written_so_that_nothing_is_lost() -> None:
    values = np.array([0.1, -0.0, 5e-324, 1.7976931348623157e308, np.nan, np.inf])
    k = len(values)
    points = Points(np.arange(k), np.array([0, 1, 0, 0, 0, 0], np.uint32), values, np.full(k, 32768, np.uint16))
    lines = encode(points, ["plain.tag.w", "with space,comma=sign"], "gwanje")
    assert lines == [
        "gwanje,point=plain.tag.w value=0.1,quality=32768i 0",
        "gwanje,point=with\\ space\\,comma\\=sign value=-0.0,quality=32768i 1",
        "gwanje,point=plain.tag.w value=5e-324,quality=32768i 2",
        "gwanje,point=plain.tag.w value=1.7976931348623157e+308,quality=32768i 3",
        "gwanje,point=plain.tag.w quality=32768i 4",
        "gwanje,point=plain.tag.w quality=32768i 5",
    ]
    back = [float(line.split("value=")[1].split(",")[0]) for line in lines[:4]]
    assert np.array(back).tobytes() == values[:4].tobytes()


# ---- VictoriaMetrics


class Victoria:
    """VictoriaMetrics on a loopback port with storage of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert VICTORIA is not None
        self.process = subprocess.Popen(
            [
                VICTORIA,
                f"-httpListenAddr=127.0.0.1:{self.port}",
                f"-storageDataPath={self.place}",
                "-retentionPeriod=100y",
                "-dedup.minScrapeInterval=1ms",
                "-memory.allowedBytes=128MB",
                "-loggerLevel=ERROR",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gate, deadline = threading.Event(), SystemClock().mono_ns() + 30 * NS_PER_S
        while True:
            try:
                self.get("/health")
                return
            except urllib.error.URLError:
                assert self.process.poll() is None, "VictoriaMetrics did not start"
                assert SystemClock().mono_ns() < deadline, "VictoriaMetrics does not answer"
                gate.wait(0.05)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return bytes(answer.read())

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(30)
            self.process = None

    def exported(self) -> dict[tuple[str, int], float]:
        """(tag, ms) → value of what it holds."""
        self.get("/internal/force_flush")
        found: dict[tuple[str, int], float] = {}
        for line in self.get("/api/v1/export?match[]=gwanje_value").splitlines():
            series = json.loads(line)
            for value, stamp in zip(series["values"], series["timestamps"], strict=True):
                found[series["metric"]["point"], stamp] = value
        return found


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Victoria]:
    if VICTORIA is None:
        pytest.skip("victoria-metrics is not installed (Debian package victoria-metrics)")
    one = Victoria(tmp_path / "victoria")
    one.start()
    yield one
    one.end(signal.SIGKILL)


def expected(n: int) -> dict[tuple[str, int], float]:
    names = ["city.meter.load_w", "jincheon.ess1.soc", "jincheon.pv.generation_w"]
    return {(names[value % 3], 1_767_225_600_000 + value // 3 * 100): float(value) for value in range(n)}


def test_victoria_metrics_gets_every_point(recorder, feed, victoria, forward) -> None:
    fill(recorder, feed, 0, 3_000)
    forwarder = forward(url=victoria.url, batch_points=700, dialect="victoriametrics")
    run(forwarder)
    found = victoria.exported()
    assert found.keys() == expected(3_000).keys()
    assert all(math.isclose(found[key], value, rel_tol=1e-11) for key, value in expected(3_000).items())


def test_victoria_metrics_killed_and_back_has_every_point(recorder, feed, victoria, forward) -> None:
    fill(recorder, feed, 0, 1_500)
    forwarder = forward(url=victoria.url, batch_points=100, dialect="victoriametrics")
    run(forwarder)
    victoria.end(signal.SIGKILL)  # it has acknowledged 1500 points and owns none of them on disk
    fill(recorder, feed, 1_500, 300)
    assert forwarder.step() == 0.5
    assert forwarder.error
    victoria.start()
    run(forwarder)
    assert victoria.exported().keys() == expected(1_800).keys()
