"""A scenario beside a city at the same ports is refused before anything starts."""

import fcntl
import os
import socket

import pytest

from gwanje.core.city import run_dir
from gwanje.core.cli import scenario as cli
from gwanje.core.cli.main import main
from gwanje.core.scenario.ports import addresses, listened, why_taken
from gwanje.core.scenario.script import names_of
from gwanje.core.site.config import load_site


def test_the_addresses_are_those_of_what_the_simulated_city_opens(site_with):
    site = load_site(site_with("charging", "meters"))
    found = dict(addresses(site))
    for device in site.devices:
        assert (device.name in found) == bool(device.port), device.name
    assert len(found) == len([one for one in site.devices if one.port]) + len(site.nodes)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_who_listens_is_seen(kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        assert port in listened()
    assert port not in listened()


def test_a_scenario_at_ports_that_somebody_has_is_refused_at_once(site_copy, tmp_path, monkeypatch, capsys):
    def started(*_arguments):
        raise AssertionError("a city was started")

    monkeypatch.setattr(cli, "City", started)
    monkeypatch.setattr(run_dir, "_memory", lambda: tmp_path)
    name, port = next(iter(addresses(load_site(site_copy))))
    scenario = sorted(names_of(site_copy))[0]
    with socket.create_server(("127.0.0.1", port)):
        assert main(["scenario", scenario, "--site", str(site_copy)]) == 2
        said = capsys.readouterr().err
        assert f"port {port} of {name} is taken, another program listens there; stop it first" in said
        assert len(said.splitlines()) == 1

        run = run_dir.default_run_dir("chungbuk")
        run.mkdir(parents=True)
        lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a running city holds it
        run_dir.RunInfo(4711, str(site_copy), str(tmp_path), 1, 1, "boot").write(run)
        try:
            assert main(["scenario", scenario, "--site", str(site_copy)]) == 2
            assert "is taken, this city runs: chungbuk (process 4711); stop it first" in capsys.readouterr().err
        finally:
            os.close(lock)


def test_free_ports_are_no_reason(site_copy, tmp_path):
    assert why_taken(load_site(site_copy), frozenset(), tmp_path) == ""
