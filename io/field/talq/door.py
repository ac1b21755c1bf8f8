"""Our side of TALQ's second pipe: the HTTP server at which gateways announce themselves and deliver their logs.

A gateway first announces itself (``POST /devices`` with its Gateway function, to a nil address) and gets its address;
whoever sends anything else before, or with a wrong token, is turned away with 403 or 401. One door serves all gateways.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from gwanje.io.field.talq.messages import BODY_MAX, NIL, MessageError, read_json, version_fits
from gwanje.io.field.talq.schema import VERSION, SchemaError, check_all

GATEWAYS_MAX = 64
"""Behind one door; a city has a handful."""
REQUESTS_MAX = 16
"""Handled at once over all gateways; a gateway that floods gets 429 and reports again later."""
BODY_S_MAX = 10.0
"""A message that is still coming after this is given up: nobody holds a place by dribbling bytes."""

Answer = web.Response
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Caller(Protocol):
    """What the door needs of one gateway's driver."""

    @property
    def uri(self) -> str:
        """Where we reach it; names it until it has an address."""

    @property
    def address(self) -> str:
        """Its TALQ address, given by us."""

    @property
    def token(self) -> str:
        """Expected in ``authorization``; empty without."""

    def announced(self, gateway: dict[str, Any]) -> dict[str, Any]:
        """It announces itself; the device with the addresses that we give."""

    def introduced(self) -> None:
        """It has announced services or device classes."""

    def listed(self, devices: Any) -> None:
        """It lists devices, new or changed.

        Raises:
            MessageError: these are none.
        """

    def reported(self, report: Any) -> None:
        """It delivers a log.

        Raises:
            MessageError: this is no log report.
        """


class Door:
    """See the module.

    Args:
        host: where to listen.
        port: see ``host``; 0 for any.
        tls: for https.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._callers: list[Caller] = []
        self._runner: web.AppRunner | None = None
        self._under_way = 0
        self.refused = 0
        """Requests turned away."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def expect(self, caller: Caller) -> None:
        """A gateway may come."""
        assert len(self._callers) < GATEWAYS_MAX, "gateways are checked with the configuration"
        self._callers.append(caller)

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        app = web.Application(client_max_size=BODY_MAX, middlewares=[self._guard])
        app.router.add_post("/devices", self._post_devices)
        for method in ("PUT", "PATCH"):
            app.router.add_route(method, "/devices", self._change_devices)
        for method in ("PUT", "PATCH", "DELETE"):
            app.router.add_route(method, "/devices/{address}", self._change_device)
        app.router.add_post("/device-classes", self._introduce)
        app.router.add_post("/services", self._introduce)
        app.router.add_post("/log-reports", self._report)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def serve(self) -> None:
        """Listen until cancelled.

        Raises:
            OSError: the address is taken.
        """
        try:
            await self.open()
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Version, number of requests and form of every message, before and around its handler."""
        if not version_fits(request.headers.get("talq-api-version", "")):
            return self._turned_away(400, "talq-api-version", f"this is TALQ {VERSION}")
        if self._under_way >= REQUESTS_MAX:
            return self._turned_away(429, "busy", "too many requests at once")
        self._under_way += 1
        try:
            async with asyncio.timeout(BODY_S_MAX):
                response = await handler(request)
        except TimeoutError:
            return self._turned_away(408, "request", "the body took too long")
        except (MessageError, SchemaError) as error:
            return self._turned_away(400, "schema", str(error))
        except web.HTTPException as error:
            return self._turned_away(error.status, "request", error.reason)
        except (asyncio.IncompleteReadError, ConnectionError):
            return self._turned_away(400, "request", "the body was cut off")
        finally:
            self._under_way -= 1
        response.headers["talq-api-version"] = VERSION
        return response

    def _turned_away(self, status: int, key: str, why: str) -> Answer:
        self.refused += 1
        return web.json_response(
            [{"key": key, "description": why[:200], "references": []}], status=status,
            headers={"talq-api-version": VERSION},
        )  # fmt: skip

    def _caller(self, request: web.Request) -> Caller:
        """Who speaks: by the address that we gave it, and with its token.

        Raises:
            web.HTTPException: nobody that we know, or with the wrong token.
        """
        address = request.query.get("clientAddress", NIL).lower()
        for caller in self._callers:
            if caller.address == address:
                self._allow(request, caller)
                return caller
        raise web.HTTPForbidden(reason="unknown clientAddress: announce yourself first")

    def _allow(self, request: web.Request, caller: Caller) -> None:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if caller.token and not hmac.compare_digest(shown.encode("utf-8"), caller.token.encode("utf-8")):
            raise web.HTTPUnauthorized(reason="wrong token")

    async def _post_devices(self, request: web.Request) -> Answer:
        devices = read_json(await request.read())
        if request.query.get("clientAddress", NIL) != NIL:
            self._caller(request).listed(devices)
            return web.json_response(devices, status=201)
        check_all("Device", devices)
        if len(devices) != 1:
            raise web.HTTPForbidden(reason="before anything else a gateway announces itself alone")
        uri, nil = _announcement(devices[0])
        if not nil:
            raise web.HTTPForbidden(reason="addresses are given here: announce yourself with nil addresses")
        for caller in self._callers:
            if caller.uri.rstrip("/") == uri.rstrip("/"):
                self._allow(request, caller)
                return web.json_response([caller.announced(devices[0])], status=201)
        raise web.HTTPForbidden(reason="no gateway of this URI is expected")

    async def _change_devices(self, request: web.Request) -> Answer:
        caller = self._caller(request)
        caller.listed(read_json(await request.read()))
        return Answer(status=200)

    async def _change_device(self, request: web.Request) -> Answer:
        caller = self._caller(request)
        if request.method == "DELETE":
            return Answer(status=200)
        caller.listed([read_json(await request.read())])
        return Answer(status=200)

    async def _introduce(self, request: web.Request) -> Answer:
        caller = self._caller(request)
        kind = "AnyService" if request.path == "/services" else "DeviceClass"
        found = check_all(kind, read_json(await request.read()))
        caller.introduced()
        return web.json_response(found, status=201)

    async def _report(self, request: web.Request) -> Answer:
        caller = self._caller(request)
        caller.reported(read_json(await request.read()))
        return Answer(status=201)


def _announcement(device: dict[str, Any]) -> tuple[str, bool]:
    """The URI in a gateway's announcement, and whether it asks for its addresses."""
    for function in device.get("functions", ()):
        if function.get("type") == "GatewayFunction":
            uri, address = (_value(function, key) for key in ("gatewayUri", "gatewayAddress"))
            return uri, address in ("", NIL)
    raise web.HTTPForbidden(reason="no Gateway function in the announcement")


def _value(function: dict[str, Any], key: str) -> str:
    member = function.get(key)
    value = member.get("value", "") if isinstance(member, dict) else ""
    return value if isinstance(value, str) else ""


__all__ = ["Caller", "Door"]
