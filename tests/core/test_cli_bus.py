"""``gwanje bus``: rates, gaps and latencies of a running city's streams."""

import json
import threading

import numpy as np
import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.cli import bus as command
from gwanje.core.cli.main import main
from gwanje.core.clock import SystemClock


@pytest.mark.parametrize("as_json", [True, False])
def test_streams_are_listed_with_rates_and_latencies(tmp_path, monkeypatch, capsys, as_json):
    clock = SystemClock()
    field = Bus(tmp_path, "field", clock)
    site = type("Site", (), {"tags": type("Tags", (), {"n": 1024})()})()
    monkeypatch.setattr(command, "attached", lambda _chosen: (site, tmp_path, None))
    stop = threading.Event()

    def publish():
        publisher = field.publisher()
        while not stop.is_set():
            publisher.scan(np.arange(3), np.ones(3), np.zeros(3, np.uint16), np.ones(3, np.int64))
            publisher._sequence["scan"] += 1  # every other one is missing
            clock.wait_until_mono_ns(clock.mono_ns() + 10_000_000)

    worker = threading.Thread(target=publish)
    worker.start()
    try:
        assert main(["bus", "--for", "2.5", *(["--json"] if as_json else [])]) == 0
    finally:
        stop.set()
        worker.join()
        field.close()
    out = capsys.readouterr().out
    if not as_json:
        assert "field" in out
        assert "p99" in out
        return
    last = json.loads(out.splitlines()[-1])
    (stream,) = last["streams"]
    assert (stream["part"], stream["topic"]) == ("field", "scan")
    assert stream["per_s"] > 0
    assert stream["gaps"] > 0
    assert 0 < stream["p50_us"] <= stream["p99_us"] <= stream["max_us"]


def test_a_bundle_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["bus", "--bundle", str(tmp_path / "none.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
