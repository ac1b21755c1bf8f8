"""Who comes in beyond this machine, what the site's files may say, and the part as a whole."""

import asyncio
import base64
import logging
import os
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Twin
from gwanje.core.tags.store import TagStore
from gwanje.io.field.ocpp.check import problems
from gwanje.io.field.ocpp.door import (
    DoorError,
    Flood,
    Pace,
    Passwords,
    digest_of,
    identity_of,
    is_loopback,
    read_secrets,
)
from gwanje.io.field.ocpp.main import main
from gwanje.io.sim.city.chargers import make

from .rig import CHUNGBUK, Rig, S, devices, run, site

SALT = b"0123456789abcdef"


@pytest.fixture
def folder(tmp_path):
    """Certificate, key and passwords of a site."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem",
         "-out", tmp_path / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "passwords.toml").write_text(f'"CB-EV-001" = "{digest_of("long and random", SALT)}"\n')
    for name in ("key.pem", "passwords.toml"):
        (tmp_path / name).chmod(0o600)
    return tmp_path


def header(name, password):
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def test_identities_are_the_last_part_of_a_path():
    assert identity_of("/ocpp/CB-1") == "CB-1"
    assert identity_of("/CB%201?x=/y") == "CB 1"
    assert identity_of("/") == ""


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
                                            ("10.1.2.3", False), ("csms.example", False)])  # fmt: skip
def test_which_addresses_are_this_machines(host, own):
    assert is_loopback(host) is own


def test_a_flood_is_let_in_slowly():
    flood = Flood(10, 0)
    assert sum(flood.admits(0) for _ in range(200)) == 50
    assert sum(flood.admits(S) for _ in range(200)) == 3
    assert sum(flood.admits(3600 * S) for _ in range(200)) == 50


def test_a_pace_is_kept_and_a_burst_allowed():
    pace = Pace(10.0, 20.0, 0)
    assert [pace.wait_s(0) for _ in range(20)] == [0.0] * 20
    assert pace.wait_s(0) == pytest.approx(0.1)
    assert pace.wait_s(10 * S) == 0.0


def test_passwords_admit_the_right_one_alone():
    one = Passwords({"CP1": digest_of("secret", SALT)})
    assert one.admits("CP1", header("CP1", "secret"))
    assert not one.admits("CP1", header("CP1", "Secret"))
    assert not one.admits("CP1", header("CP2", "secret"))
    assert not one.admits("CP2", header("CP2", "secret"))
    assert not one.admits("CP1", header("CP1", "secret").replace("Basic", "Bearer"))
    assert not one.admits("CP1", "Basic ???")
    assert not one.admits("CP1", "")


def test_beyond_this_machine_everything_must_be_there(folder):
    context, _ = read_secrets(folder, {"CB-EV-001": 1})
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with pytest.raises(DoorError, match="no password for CB-EV-002"):
        read_secrets(folder, {"CB-EV-001": 1, "CB-EV-002": 1})
    (folder / "key.pem").chmod(0o644)
    with pytest.raises(DoorError, match="read by others"):
        read_secrets(folder, {})
    (folder / "key.pem").chmod(0o600)
    (folder / "passwords.toml").write_text('"CB-EV-001" = "abc:def"\n')
    with pytest.raises(DoorError, match="hexadecimal"):
        read_secrets(folder, {})
    (folder / "certificate.pem").write_text("no certificate")
    with pytest.raises(DoorError, match="cannot be used"):
        read_secrets(folder, {})
    (folder / "certificate.pem").unlink()
    with pytest.raises(DoorError, match="TLS and passwords only"):
        read_secrets(folder, {})


def test_with_tls_only_the_right_password_comes_in(folder):
    async def scenario():
        rig = Rig(devices())
        async with rig:
            tls, passwords = read_secrets(folder, {"CB-EV-001": 1})
            rig.system._passwords, rig.system._tls = passwords, tls
            rig.system.listening.clear()
            rig._start(rig.system.__class__.run(rig.system), "with TLS")
            rig.system.port = 0
            await asyncio.wait_for(rig.system.listening.wait(), 5)
            trust = ssl.create_default_context(cafile=folder / "certificate.pem")
            url = f"wss://127.0.0.1:{rig.system.port}/CB-EV-001"

            def knock(password):
                return connect(url, ssl=trust, proxy=None, subprotocols=["ocpp1.6"], additional_headers={
                    "Authorization": header("CB-EV-001", password)})

            with pytest.raises(InvalidStatus) as caught:
                async with knock("wrong"):
                    pass
            assert caught.value.response.status_code == 401
            async with knock("long and random") as socket:
                await socket.send('[2,"1","Heartbeat",{}]')
                while not (await socket.recv()).startswith('[3,"1"'):
                    pass

    run(scenario)


# ---- the site's files


def told(chosen):
    return [(device.name, path, reason) for device, path, reason in problems(chosen)]


def changed(name, **more):
    """The default chargers with one device changed; ``params`` are merged."""
    chosen = []
    for one in site().devices:
        if one.name == name:
            params = {**one.params, **more.pop("params", {})}
            one = replace(one, params={k: v for k, v in params.items() if v is not None}, **more)
        chosen.append(one)
    return chosen


def test_the_default_site_has_no_problem():
    assert told(site().devices) == []


@pytest.mark.parametrize(
    ("name", "change", "path", "reason"),
    [
        ("ev001", {"params": {"role": "car"}}, ("params", "role"), "one of system, group, charger"),
        ("ev001", {"params": {"version": "1.5"}}, ("params", "version"), "1.6, 2.0.1"),
        ("ev001", {"params": {"version": None}}, ("params", "version"), "is missing"),
        ("ev001", {"params": {"colour": "red"}}, ("params", "colour"), "unknown key"),
        ("ev001", {"params": {"rated_w": -1}}, ("params", "rated_w"), "1 … 1e+06"),
        ("ev001", {"params": {"phases": 1.5}}, ("params", "phases"), "whole number 1 … 3"),
        ("ev001", {"params": {"fallback_w": 9_000}}, ("params", "fallback_w"), "more than rated_w"),
        ("ev001", {"params": {"configure": {"a": 1}}}, ("params", "configure"), "table of texts"),
        ("ev001", {"params": {"group": "group9"}}, ("params", "group"), "no group"),
        ("ev001", {"address": "has space"}, ("address",), "no charge point id"),
        ("ev001", {"via": "group1"}, ("via",), "no central system"),
        ("ev001", {"via": ""}, ("via",), "is missing"),
        ("ev001", {"twin": Twin("lamp", {})}, ("twin", "kind"), "car_charger"),
        ("csms", {"params": {"tokens": "any"}}, ("params", "tokens"), "array of texts"),
        ("csms", {"host": ""}, ("host",), "where it listens"),
        ("group1", {"params": {"limit_w": 50_000}}, ("params", "limit_w"), "fall back to 79200 W"),
        ("group1", {"params": {"parent": "none"}}, ("params", "parent"), "no group"),
        ("group0", {"params": {"parent": "group1"}}, ("params", "parent"), "behind itself"),
    ],
)
def test_each_mistake_is_named_with_its_device_and_key(name, change, path, reason):
    found = [one for one in told(changed(name, **change)) if one[0] == name and one[1] == path]
    assert found, told(changed(name, **change))[:5]
    assert reason in found[0][2]


@pytest.mark.parametrize(
    ("at", "reason"),
    [({"state": "weather"}, "is none of"), ({"measurand": "Humidity"}, "no measurand"), ({}, "must be"),
     ({"state": "status", "measurand": "SoC"}, "must be"), ({"state": "error"}, "another point")],
)  # fmt: skip
def test_points_name_what_there_is(at, reason):
    device = next(one for one in site().devices if one.name == "ev001")
    points = (replace(device.points[0], at=at), *device.points[1:])
    assert any(reason in one[2] for one in told(changed("ev001", points=points)))


def test_commands_name_what_there_is():
    device = next(one for one in site().devices if one.name == "ev001")
    for more, reason in (({"at": {"do": "dance"}}, "limit, availability"), ({"revert_s": 5.0}, "60 s or more"),
                         ({"hold_s": 0.0}, "needs hold_s")):  # fmt: skip
        commands = (replace(device.commands[0], **more), *device.commands[1:])
        assert any(reason in one[2] for one in told(changed("ev001", commands=commands)))


def test_simulated_chargers_stay_on_this_machine():
    assert any("this machine only" in one[2] for one in told(changed("csms", host="10.0.0.1")))


# ---- the part


def context(run_dir, chosen, stop_fd):
    clock, tags = SystemClock(), site().tags
    here = SimpleNamespace(devices=tuple(chosen), read_only=False, root=CHUNGBUK)
    return PartContext(
        "charging", here, tags, TagStore.create(run_dir / "tags", tags), clock, Bus(run_dir, "charging", clock, tags.n),
        run_dir, RunOptions(data_dir=str(run_dir / "data")), stop_fd, logging.getLogger("charging"),
        Heartbeat(run_dir, "charging"),
    )  # fmt: skip


@pytest.fixture
def run_dir():
    folder = Path(tempfile.mkdtemp(prefix="gwanje-test-"))
    yield folder
    shutil.rmtree(folder)


def test_the_part_serves_its_chargers_and_leaves_when_asked(run_dir):
    async def scenario():
        reader, writer = os.pipe()
        port = _free_port()
        chosen = [replace(one, port=port) if one.name == "csms" else one for one in devices(2, 1)]
        ctx = context(run_dir, chosen, reader)
        cars = make(ctx, [one for one in chosen if one.twin is not None])
        part = asyncio.create_task(asyncio.to_thread(main, ctx))

        def value(name):
            return ctx.store.read(ctx.tags.index(name)).value

        await cars.open()
        async with asyncio.timeout(30):
            while not (value("charging.csms.connected") == 3.0 and value("jincheon.ev001.online") == 1.0
                       and value("system.family_charging.online") == 8.0):  # fmt: skip
                assert not part.done(), part.exception()
                await asyncio.sleep(0.05)
        assert value("system.family_charging.devices") == 8.0
        assert ctx.beat.last_mono_ns() > 0
        os.write(writer, b"x")
        await asyncio.wait_for(part, 10)
        await cars.close()
        ctx.bus.close()
        os.close(reader)
        os.close(writer)

    run(scenario)


def test_the_part_does_not_listen_beyond_this_machine_without_secrets(run_dir):
    reader, writer = os.pipe()
    chosen = [replace(one, host="0.0.0.0", port=15_599) if one.name == "csms" else one for one in devices()]
    ctx = context(run_dir, chosen, reader)
    with pytest.raises(PartError, match="TLS and passwords only"):
        main(ctx)
    ctx.bus.close()
    os.close(reader)
    os.close(writer)


def test_a_port_that_is_taken_is_said_so(run_dir):
    async def scenario():
        reader, writer = os.pipe()
        async with Rig(devices()) as rig:
            chosen = [replace(one, port=rig.system.port) if one.name == "csms" else one for one in devices()]
            ctx = context(run_dir, chosen, reader)
            with pytest.raises(PartError, match="somebody listens there already"):
                await asyncio.to_thread(main, ctx)
            ctx.bus.close()
        os.close(reader)
        os.close(writer)

    run(scenario)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
