"""A simulated TALQ gateway: its HTTP server, its announcement to the CMS, its reports, and what it can do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import aiohttp
import numpy as np
import numpy.typing as npt
from aiohttp import web

from gwanje.core.site.config import Device
from gwanje.io.field.street.times import utc_ns_of
from gwanje.io.field.talq.schema import SchemaError, check, check_all
from gwanje.io.sim.city.lamps_logger import Logger
from gwanje.io.sim.city.lamps_wire import GATEWAY_ATTRIBUTES, NIL, SERVICES, LampTeller, device_classes, stamp
from gwanje.io.sim.listening import PortTakenError

VERSION = "2.7.1"
WRONG_VERSION = "1.4.0"
TURN_S = 1.0
"""How often the gateway samples, reports and announces."""
ENTRIES_MAX = 500
"""Of one report."""
BODY_MAX = 8_388_608
"""Bytes of a request: an override that names ten thousand lamps has a megabyte."""
LOGGERS_MAX, GROUPS_MAX = 16, 64
RETRY_AFTER_S = 2

GATEWAY_FAULTS = {
    "http_503": "every request is answered with 503 and Retry-After, nothing is reported",
    "silent": "requests are taken and never answered, nothing is reported",
    "invalid_body": "answers and reports do not fit the schema",
    "wrong_version": "speaks TALQ 1.4.0",
    "no_push": "answers, but reports nothing",
    "forgot": "has forgotten its CMS: answers 403 until it has announced itself anew",
}
"""Kinds of faults of a gateway, with what each does."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GatewayServer:
    """See the module. Use it from an event loop.

    Args:
        device: of the gateway; its ``params`` say where the CMS listens.
        teller: of its lamps.
        utc_ns: now.
    """

    def __init__(self, device: Device, teller: LampTeller, utc_ns: Callable[[], int]) -> None:
        self.device = device
        self.teller = teller
        self._utc_ns = utc_ns
        self._token = str(device.params.get("token", ""))
        self._cms_uri = f"http://{device.params.get('door_host', '127.0.0.1')}:{device.params['door_port']}"
        self.fault = ""
        self.address = NIL
        self.cms_address = NIL
        self.requests = 0
        """Requests answered."""
        self.overrides: list[dict[str, Any]] = []
        """The last commands, for tests."""
        self._groups: dict[str, dict[str, Any]] = {}
        self._loggers: dict[str, tuple[dict[str, Any], Logger]] = {}
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._released = asyncio.Event()
        self._all = np.arange(len(teller.world))
        self.port = device.port

    async def open(self) -> None:
        """Listen and announce.

        Raises:
            PortTakenError: the address cannot be listened on.
        """
        app = web.Application(client_max_size=BODY_MAX, middlewares=[self._guard])
        add = app.router.add_route
        add("GET", "/services", self._get_services)
        add("GET", "/device-classes", self._get_classes)
        add("GET", "/devices", self._get_devices)
        add("GET", "/devices/count", self._get_count)
        add("GET", "/devices/{device}", self._get_device)
        add("PATCH", "/devices/{device}", self._patch_device)
        add("GET", "/devices/{device}/{function}/{attribute}", self._get_attribute)
        add("POST", "/groups", self._post_groups)
        add("PUT", "/groups/{group}", self._put_group)
        add("GET", "/groups", self._get_groups)
        add("POST", "/logger-configs", self._post_logger)
        add("PUT", "/logger-configs/{logger}", self._put_logger)
        add("GET", "/log-reports/{logger}", self._get_report)
        add("POST", "/override-commands", self._post_override)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.device.host, self.device.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self.device.host}:{self.device.port}"
            raise PortTakenError(f"{self.device.name} cannot listen on {where}: {error.strerror}") from None
        self.port = self._runner.addresses[0][1]
        timeout = aiohttp.ClientTimeout(total=5.0)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._task = asyncio.create_task(self._work(), name=f"gateway {self.device.name}")

    @property
    def work(self) -> asyncio.Task[None] | None:
        """What it does by itself; None before it is open."""
        return self._task

    async def close(self) -> None:
        """Leave."""
        self._released.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def set_fault(self, kind: str) -> None:
        """Begin a fault of the gateway; an empty kind ends it."""
        self.fault = kind
        self._released.set()
        self._released = asyncio.Event()
        if kind == "forgot":
            self.address = NIL
            self._loggers.clear()
            self._groups.clear()

    # ---- towards the CMS

    async def _work(self) -> None:
        while True:
            if self.address == NIL:
                if self.fault not in ("silent", "http_503"):
                    await self._announce()
            elif self.fault not in ("silent", "http_503", "no_push"):
                await self._report()
            await asyncio.sleep(TURN_S)

    async def _announce(self) -> None:
        """The bootstrap of TALQ: announce, introduce services and classes."""
        first = await self._tell("POST", "/devices", [self._own_device(announcing=True)], NIL)
        if not isinstance(first, list) or not first:
            return
        functions = {one.get("type"): one for one in first[0].get("functions", ())}
        given = functions.get("GatewayFunction", {})
        address = str(given.get("gatewayAddress", {}).get("value", NIL))
        if await self._tell("POST", "/services", [dict(one) for one in SERVICES], address) is None:
            return
        if await self._tell("POST", "/device-classes", device_classes(), address) is None:
            return
        self.cms_address = str(given.get("cmsAddress", {}).get("value", NIL))
        self.address = address

    async def _tell(self, method: str, path: str, body: Any, address: str) -> Any:
        return await self._post(method, path, json.dumps(body).encode("utf-8"), address)

    async def _post(self, method: str, path: str, body: bytes, address: str) -> Any:
        """What the CMS answers, parsed; ``None`` when it does not take it, an empty list for an empty answer."""
        assert self._session is not None, "opened before it speaks"
        headers = {"talq-api-version": self._version, "content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        query = {"clientAddress": address, "talqRequestId": str(uuid4())}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
            url = f"{self._cms_uri}{path}"
            async with self._session.request(method, url, params=query, data=body, headers=headers) as response:
                answer = await response.read()
                if response.status in (200, 201, 202, 204):
                    return json.loads(answer) if answer else []
        return None

    @property
    def _version(self) -> str:
        return WRONG_VERSION if self.fault == "wrong_version" else VERSION

    async def _report(self) -> None:
        now = self._utc_ns()
        for _, logger in list(self._loggers.values()):
            logger.sample(now)
            for body in logger.reports(ENTRIES_MAX):
                if self.fault == "invalid_body":
                    body = body.replace('"value":', '"value":"?",_":')
                if await self._post("POST", "/log-reports", body.encode("utf-8"), self.address) is None:
                    break

    def _own_device(self, *, announcing: bool) -> dict[str, Any]:
        """The gateway as a device; while announcing it has no addresses yet."""
        uri = f"http://{self.device.host}:{self.port}"
        text = {"cmsUri": self._cms_uri, "gatewayUri": uri}
        gateway: dict[str, Any] = {"id": "gateway", "type": "GatewayFunction"}
        gateway |= {key: {"type": "AttributeUri", "value": value} for key, value in text.items()}
        for key, value in (("gatewayAddress", self.address), ("cmsAddress", self.cms_address)):
            gateway[key] = {"type": "AttributeString", "value": NIL if announcing else value}
        gateway["vendor"] = {"type": "AttributeString", "value": "Gwanje simulated city"}
        basic = {
            "id": "basic", "type": "BasicFunction",
            "assetId": {"type": "AttributeString", "value": self.device.address},
            "serial": {"type": "AttributeString", "value": f"SIM-{self.device.name}"},
        }  # fmt: skip
        when = stamp(self._utc_ns())
        sensors = [
            {"id": one, "type": kind, name: self.teller.gateway_value(name, when)}
            for name, one, kind in (
                ("photocellOutput", GATEWAY_ATTRIBUTES["photocellOutput"], "PhotocellFunction"),
                ("lightLevel", GATEWAY_ATTRIBUTES["lightLevel"], "LightSensorFunction"),
            )
        ]
        return {
            "address": NIL if announcing else self.address, "name": self.device.name, "class": "gateway",
            "functions": [basic, gateway, *sensors],
        }  # fmt: skip

    # ---- what the CMS asks

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        if self.fault == "silent":
            await self._released.wait()
            return _error(503, "was silent")
        if self.fault == "http_503":
            busy = _error(503, "maintenance")
            busy.headers["retry-after"] = str(RETRY_AFTER_S)
            return busy
        if request.headers.get("talq-api-version") != VERSION:
            return _error(400, "talq-api-version")
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return _error(401, "token")
        if self.address == NIL or request.query.get("clientAddress") != self.cms_address:
            return _error(403, "unknown CMS")
        response: web.StreamResponse
        try:
            response = await handler(request)
        except (SchemaError, ValueError) as error:
            response = _error(400, str(error)[:200])
        response.headers["talq-api-version"] = self._version
        if self.fault == "invalid_body" and request.method == "GET":
            return web.json_response({"devices": [42, {"address": "?"}]}, headers={"talq-api-version": self._version})
        return response

    async def _get_services(self, request: web.Request) -> web.Response:
        return web.json_response([dict(one) for one in SERVICES])

    async def _get_classes(self, request: web.Request) -> web.Response:
        return web.json_response(device_classes())

    async def _get_devices(self, request: web.Request) -> web.Response:
        offset = int(request.query.get("offset", "0"))
        limit = int(request.query.get("limit", str(len(self._all) + 1)))
        n = len(self._all)
        lamps = range(min(offset, n), min(offset + limit, n))
        found = self.teller.devices(lamps, self._utc_ns())
        if offset <= n < offset + limit:
            found.append(json.dumps(self._own_device(announcing=False)))
        headers = {
            "pagination-count": str(len(found)), "pagination-offset": str(offset),
            "pagination-totalCount": str(n + 1), "pagination-defaultLimit": "100",
        }  # fmt: skip
        return web.Response(text=f"[{','.join(found)}]", content_type="application/json", headers=headers)

    async def _get_count(self, request: web.Request) -> web.Response:
        return web.json_response(len(self._all) + 1)

    async def _get_device(self, request: web.Request) -> web.Response:
        lamp = self.teller.index.get(request.match_info["device"])
        if lamp is None:
            return _error(404, "no such device")
        text = self.teller.devices([lamp], self._utc_ns())[0]
        return web.Response(text=text, content_type="application/json")

    async def _patch_device(self, request: web.Request) -> web.Response:
        check("Device", await request.json())
        return web.Response(status=200)

    async def _get_attribute(self, request: web.Request) -> web.Response:
        lamp, name = self.teller.index.get(request.match_info["device"]), request.match_info["attribute"]
        try:
            column = self.teller.column(name)
        except KeyError:
            return _error(404, "no such attribute")
        if lamp is None:
            return _error(404, "no such device")
        when = self.teller.time_of(lamp, self._utc_ns())
        text = self.teller.text(lamp, name, column[lamp], when)
        return web.Response(text=text, content_type="application/json")

    async def _get_groups(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._groups.values()))

    async def _post_groups(self, request: web.Request) -> web.Response:
        groups = check_all("Group", await request.json())
        if any(one["address"] in self._groups for one in groups):
            return _error(409, "the group is there")
        if len(self._groups) + len(groups) > GROUPS_MAX:
            return _error(422, "too many groups")
        self._groups.update({one["address"]: one for one in groups})
        return web.json_response(groups, status=201)

    async def _put_group(self, request: web.Request) -> web.Response:
        group = await request.json()
        check("Group", group)
        self._groups[request.match_info["group"]] = group
        return web.json_response(group)

    async def _post_logger(self, request: web.Request) -> web.Response:
        config = await request.json()
        check("LoggerConfig", config)
        if config["address"] in self._loggers:
            return _error(409, "the logger is there")
        return self._add_logger(config, 201)

    async def _put_logger(self, request: web.Request) -> web.Response:
        config = await request.json()
        check("LoggerConfig", config)
        return self._add_logger(config, 200)

    def _add_logger(self, config: dict[str, Any], status: int) -> web.Response:
        if len(self._loggers) >= LOGGERS_MAX:
            return _error(422, "too many loggers")
        sources = config.get("sourceAddresses", {}).get("whiteList", [])
        own = self.address if any(one["address"] == self.address for one in sources) else ""
        lamps = self._lamps_of([one for one in sources if one["address"] != self.address])
        self._loggers[config["address"]] = (config, Logger(config, lamps, own, self.teller))
        return web.Response(status=status)

    async def _get_report(self, request: web.Request) -> web.Response:
        found = self._loggers.get(request.match_info["logger"])
        if found is None:
            return _error(404, "no such logger")
        found[1].everything(self._utc_ns())
        text = next(found[1].reports(ENTRIES_MAX), json.dumps({"address": found[1].address, "entries": []}))
        return web.Response(text=text, content_type="application/json")

    async def _post_override(self, request: web.Request) -> web.Response:
        command = await request.json()
        check("OverrideCommand", command)
        self.overrides = [*self.overrides[-63:], command]
        lamps, target = self._lamps_of(command.get("addresses", [])), command.get("targetCommand")
        world = self.teller.world
        if target is None:
            world.resume(lamps)
            return web.Response(status=201)
        if "expiration" not in target:
            return _error(422, "this gateway takes no override without an end")
        until, level = utc_ns_of(target["expiration"]), _level(target["state"])
        if until <= self._utc_ns() or math.isnan(level):
            return _error(422, "it has expired already, or has no level")
        world.override(lamps[~world.is_fault("comm_failure")[lamps]], level, until)
        return web.Response(status=201)

    def _lamps_of(self, references: Sequence[Mapping[str, str]]) -> npt.NDArray[np.int64]:
        """The lamps that references name, groups resolved.

        Raises:
            ValueError: a reference names nothing.
        """
        found: list[int] = []
        for one in references:
            if one["resource"] == "groups" and one["address"] in self._groups:
                members = self._groups[one["address"]]["members"]
                found += [self.teller.index[m["address"]] for m in members if m["address"] in self.teller.index]
            elif one["resource"] == "devices" and one["address"].partition("/")[0] in self.teller.index:
                found.append(self.teller.index[one["address"].partition("/")[0]])
            else:
                raise ValueError(f"invalidAddress: {one['resource']}/{one['address']}")
        return np.array(sorted(set(found)), np.int64)


def _level(state: Mapping[str, Any]) -> float:
    """The level of a state; NaN for one that is no level."""
    value = state.get("value")
    if isinstance(value, bool):
        return 100.0 if value else 0.0
    return float(value) if isinstance(value, int | float) else math.nan


def _error(status: int, why: str) -> web.Response:
    content = [{"key": str(status), "description": why, "references": []}]
    return web.json_response(content, status=status, headers={"talq-api-version": VERSION})
