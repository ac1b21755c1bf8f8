"""Our door: who may come in, what is turned away and how."""

import aiohttp
import pytest
from street_rig import run

from gwanje.io.field.talq import door as module
from gwanje.io.field.talq.door import Door
from gwanje.io.field.talq.messages import NIL, MessageError, read_devices

ADDRESS = "0f3c8a3e-1d64-4e4b-9d0a-8f5f3d0a2b11"


class Caller:
    uri = "http://127.0.0.1:9"
    address = ADDRESS
    token = "secret"

    def __init__(self):
        self.reports, self.devices, self.met, self.renewed = [], [], 0, 0

    def announced(self, gateway):
        self.renewed += 1
        return {**gateway, "address": self.address}

    def introduced(self):
        self.met += 1

    def listed(self, devices):
        self.devices += read_devices(devices)

    def reported(self, report):
        if not isinstance(report, dict):
            raise MessageError("no log report")
        self.reports.append(report)


def announcement(uri="http://127.0.0.1:9", address=NIL):
    function = {"id": "g", "type": "GatewayFunction"}
    for key, value in (("cmsUri", "x"), ("gatewayUri", uri)):
        function[key] = {"type": "AttributeUri", "value": value}
    for key, value in (("cmsAddress", NIL), ("gatewayAddress", address)):
        function[key] = {"type": "AttributeString", "value": value}
    return [{"address": NIL, "name": "g", "class": "gateway", "functions": [function]}]


def with_door(body):
    async def whole():
        door, caller = Door("127.0.0.1", 0), Caller()
        door.expect(caller)
        await door.open()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as session:
                await body(door, caller, Asker(session))
        finally:
            await door.close()

    run(whole)


class Asker:
    def __init__(self, session):
        self._session = session

    async def __call__(self, method, path, content=None, *, who=ADDRESS, token="secret", version="2.7.1", data=None):
        headers = {"authorization": f"Bearer {token}", **({"talq-api-version": version} if version else {})}
        async with self._session.request(
            method, path, params={"clientAddress": who}, json=content, data=data, headers=headers
        ) as response:
            answer = await response.json() if response.content_type == "application/json" else None
            return response.status, answer


def test_a_gateway_announces_itself_and_gets_its_address():
    async def body(door, caller, ask):
        status, answer = await ask("POST", "/devices", announcement(), who=NIL)
        assert (status, answer[0]["address"], caller.renewed) == (201, ADDRESS, 1)
        assert (await ask("POST", "/services", [{"name": "ControlService"}]))[0] == 201
        assert (await ask("POST", "/device-classes", []))[0] == 201
        assert caller.met == 2
        assert (await ask("POST", "/log-reports", {"address": "x", "entries": []}))[0] == 201
        assert caller.reports == [{"address": "x", "entries": []}]
        assert (await ask("PATCH", f"/devices/{ADDRESS}", {**announcement()[0]}))[0] == 200
        assert (await ask("PUT", "/devices", announcement()))[0] == 200
        assert len(caller.devices) == 2

    with_door(body)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"method": "POST", "path": "/log-reports", "content": {}, "who": NIL}, 403),
        ({"method": "POST", "path": "/log-reports", "content": {}, "who": "11111111-1d64-4e4b-9d0a-8f5f3d0a2b11"}, 403),
        ({"method": "POST", "path": "/log-reports", "content": {}, "token": "wrong"}, 401),
        ({"method": "POST", "path": "/log-reports", "content": {}, "version": "1.4.0"}, 400),
        ({"method": "POST", "path": "/log-reports", "content": {}, "version": ""}, 400),
        ({"method": "POST", "path": "/log-reports", "content": []}, 400),
        ({"method": "POST", "path": "/log-reports", "data": b"\xff{"}, 400),
        ({"method": "POST", "path": "/log-reports", "data": b"x" * 5_000_000}, 413),
        ({"method": "POST", "path": "/services", "content": [{"name": "Nonsense"}]}, 400),
        ({"method": "POST", "path": "/devices", "content": announcement(), "who": NIL, "token": "wrong"}, 401),
        ({"method": "POST", "path": "/devices", "content": announcement("http://elsewhere"), "who": NIL}, 403),
        ({"method": "POST", "path": "/devices", "content": announcement(address=ADDRESS), "who": NIL}, 403),
        ({"method": "POST", "path": "/devices", "content": announcement() * 2, "who": NIL}, 403),
        ({"method": "POST", "path": "/devices", "content": {"no": "list"}, "who": NIL}, 400),
        ({"method": "GET", "path": "/nothing"}, 404),
        ({"method": "DELETE", "path": "/services"}, 405),
    ],
)  # fmt: skip
def test_what_is_turned_away(asked, status):
    async def body(door, caller, ask):
        found, answer = await ask(**asked)
        assert found == status
        assert {"key", "description", "references"} <= answer[0].keys()
        assert door.refused == 1
        assert (caller.reports, caller.devices, caller.renewed) == ([], [], 0)

    with_door(body)


def test_a_body_that_dribbles_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "BODY_S_MAX", 0.2)

    async def body(door, caller, ask):
        async def dribble():
            yield b'{"address"'
            await aiohttp.client.asyncio.sleep(1.0)
            yield b":1}"

        assert (await ask("POST", "/log-reports", data=dribble()))[0] == 408

    with_door(body)
