"""A simulated charge point's line: an OCPP-J client of its own, which shares nothing with the central system's side.

It connects, starts, reports every ten seconds, does what it is told, keeps what it could not send, and makes on demand
every mistake of its fault menu.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.sim.city.chargers_actions import carry_out
from gwanje.io.sim.city.chargers_messages import Messages
from gwanje.io.sim.city.chargers_model import Plug

ANSWER_S = 10.0
"""Without an answer in this time a charger believes that its line is gone."""
BACKOFF_S = (0.5, 8.0)
"""First and longest wait before the next try; doubled each time, and scattered."""
KEPT_MAX = 500
"""Readings that a charger keeps while it has no line: more than an hour of them."""
JITTER_S = 0.5
"""Readings are this much early or late."""
LINE_ERRORS = (OSError, TimeoutError, WebSocketException, InvalidHandshake, EOFError)


class ChargePoint:
    """See the module.

    Args:
        device: its configuration; ``params`` say version, unit and period.
        url: of the central system, without the id.
        plug: what is at it.
        clock: time.
        speed: how much faster the simulated world runs.
        chance: of this charger.
    """

    def __init__(self, device: Device, url: str, plug: Plug, clock: Clock, speed: float, chance: random.Random) -> None:
        self.device = device
        self.plug = plug
        self.fault = ""
        self.params: Mapping[str, Any] = {}
        self.connected = False
        self.booted = False
        self.kept: deque[tuple[str, dict[str, Any]]] = deque(maxlen=KEPT_MAX)
        self.transaction: int | str = 0
        self.calls_seen: dict[str, int] = {}
        self._url = f"{url}/{device.address}"
        self._clock = clock
        self._speed = speed
        self._chance = chance
        self.v16 = device.params["version"] == "1.6"
        self._period_s = float(device.params.get("meter_s", 10.0))
        self.w_per_a = plug.voltage_v * plug.phases
        self._socket: ClientConnection | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._n = 0
        self.messages = Messages(device)
        self._told = ""
        self._advanced_ns = clock.mono_ns()
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._frozen: Mapping[str, float] | None = None
        """Readings of the moment in which its meter got stuck."""
        self._happened: list[str] = []
        self._kept_s = 0.0

    # ---- time

    def _utc_s(self) -> float:
        """Its own clock."""
        skew = float(self.params.get("skew_s", 3600.0)) if self.fault == "clock_skew" else 0.0
        return self._clock.utc_ns() / NS_PER_S + skew

    def stamp(self) -> str:
        """Its own time, as it writes it."""
        return datetime.fromtimestamp(self._utc_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def limit_w(self) -> float:
        """The limit that it heeds now."""
        return self.plug.limit_w(self._utc_s())

    def plug_time(self) -> None:
        """Let the plug's time pass; what happens is found at the next report."""
        self._happened = self.advance()  # with what had happened before

    def advance(self) -> list[str]:
        """Let the plug's time pass; what happened there."""
        now = self._clock.mono_ns()
        dt_s, self._advanced_ns = (now - self._advanced_ns) / NS_PER_S, now
        happened = self._happened + self.plug.advance(dt_s * self._speed, self.limit_w())
        self._happened = []
        return happened

    # ---- its life

    async def run(self) -> None:
        """Live until cancelled."""
        wait_s = BACKOFF_S[0]
        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
        while True:
            try:
                if self.fault in ("offline", "dead"):
                    await self._without_line()
                    continue
                async with asyncio.timeout(ANSWER_S):
                    self._socket = await connect(
                        self._url, subprotocols=[Subprotocol("ocpp1.6" if self.v16 else "ocpp2.0.1")],
                        compression=None, proxy=None, ping_interval=None, max_size=65_536, close_timeout=1.0,
                        user_agent_header=None,
                    )  # fmt: skip
                wait_s = BACKOFF_S[0]
                await self._live(self._socket)
            except LINE_ERRORS:
                await self._pause(wait_s * self._chance.uniform(0.7, 1.3))
                wait_s = min(2.0 * wait_s, BACKOFF_S[1])
            finally:
                await self._hang_up()

    async def _hang_up(self) -> None:
        self.connected = False
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()
        for one in self._answers.values():
            one.cancel()
        self._answers.clear()

    async def _pause(self, wait_s: float) -> None:
        """Wait for the next try; the world goes on, readings are kept."""
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            self._work(self.advance())

    async def _without_line(self) -> None:
        """Offline: what would have been sent is kept, unless the charger is dead."""
        await self._pause(min(self._period_s, 1.0))
        if self.fault == "dead":
            self.booted = False
            self.kept.clear()
        elif not self.kept or self._utc_s() - self._kept_s >= self._period_s:
            self._keep_readings("Sample.Clock")

    def poke(self) -> None:
        """Its fault has changed."""
        self._wake.set()
        if self._socket is not None and self.fault in ("offline", "dead", "flapping", "clock_skew"):
            self._socket.transport.abort()
        if self._socket is not None and self.fault == "freeze":
            transport = self._socket.transport
            assert isinstance(transport, asyncio.Transport), "a socket"
            transport.pause_reading()
        if self._socket is not None and not self.fault:
            transport = self._socket.transport
            if isinstance(transport, asyncio.Transport) and not transport.is_closing():
                transport.resume_reading()

    async def _live(self, socket: ClientConnection) -> None:
        """From a new line to its end."""
        self.connected = True
        listening = asyncio.create_task(self._listen(socket), name=f"listen {self.device.name}")
        reporting = asyncio.create_task(self._report(), name=f"report {self.device.name}")
        try:
            done, _ = await asyncio.wait([listening, reporting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
            reporting.cancel()
            await asyncio.gather(listening, reporting, return_exceptions=True)
        for one in done:
            one.result()

    # ---- what it says

    async def _report(self) -> None:
        if not self.booted:
            await self._boot()
        await self.status(force=True)
        while self.kept:
            action, payload = self.kept[0]
            await self._call(action, payload)
            self.kept.popleft()
        if self.plug.stay is not None and not self.transaction:
            await self.begin_session()
        due = self._clock.mono_ns() / NS_PER_S + self._chance.uniform(0.0, self._period_s)
        heard = 0.0
        while True:
            wait = due - self._clock.mono_ns() / NS_PER_S
            if wait > 0.0:
                await asyncio.sleep(wait + self._chance.uniform(-JITTER_S, JITTER_S) * min(1.0, wait))
            due = max(due + self._period_s, self._clock.mono_ns() / NS_PER_S)
            if self.fault in ("silent", "freeze"):
                continue
            if self.fault == "flapping":
                raise ConnectionResetError("it flaps")
            await self._turn_of_events(self.advance())
            await self._readings("Sample.Clock" if not self.transaction else "Sample.Periodic")
            heard += self._period_s
            if heard >= 300.0:
                heard = 0.0
                await self._call("Heartbeat", {})

    async def _turn_of_events(self, happened: list[str]) -> None:
        for one in happened:
            if one == "arrived":
                await self.begin_session()
            elif self.transaction:
                await self.end_session("EVDisconnected")
        await self.status()

    async def _boot(self) -> None:
        payload = self.messages.boot()
        answer = await self._call("BootNotification", payload)
        self.booted = answer.get("status") == "Accepted"
        if not self.booted:
            raise ConnectionRefusedError("not accepted")

    async def status(self, force: bool = False) -> None:
        """Tell the state of its connector when it has changed, or when forced to."""
        word = self.plug.status(self.limit_w())
        if word == self._told and not force:
            return
        self._told = word
        await self._call("StatusNotification", self.messages.status(word, self.stamp()))
        if self.transaction and not self.v16:
            await self._event("Updated", "ChargingStateChanged")

    async def begin_session(self) -> None:
        """Somebody has shown a token."""
        token = f"CARD{self._chance.randrange(10_000):04}"
        if self.v16:
            answer = await self._call("StartTransaction", {
                "connectorId": 1, "idTag": token, "meterStart": round(self.plug.energy_wh), "timestamp": self.stamp(),
            })  # fmt: skip
            accepted = answer.get("idTagInfo", {}).get("status") == "Accepted"
            self.transaction = int(answer.get("transactionId", 0)) if accepted else 0
        else:
            self.transaction = f"{self.device.address}-{round(self._utc_s())}"[:36]
            await self._event("Started", "CablePluggedIn", {"idToken": {"idToken": token, "type": "ISO14443"}})

    async def end_session(self, reason: str) -> None:
        """Its session is over."""
        transaction, self.transaction = self.transaction, 0
        if self.v16:
            await self._call("StopTransaction", {
                "transactionId": transaction, "meterStop": round(self.plug.energy_wh), "timestamp": self.stamp(),
                "reason": reason if reason != "StoppedByEV" else "EVDisconnected",
            })  # fmt: skip
        else:
            trigger = "EVDeparted" if reason == "EVDisconnected" else "RemoteStop"
            await self._event("Ended", trigger, {}, str(transaction), {"stoppedReason": reason})

    async def _event(
        self, kind: str, trigger: str, more: Mapping[str, Any] | None = None, transaction: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        await self._call("TransactionEvent", self._event_message(kind, trigger, more, transaction, info))

    def _event_message(
        self, kind: str, trigger: str, more: Mapping[str, Any] | None = None, transaction: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        word = self.plug.status(self.limit_w())
        about = {"transactionId": transaction or str(self.transaction), **(info or {})}
        return self.messages.event(kind, trigger, word, about, self.stamp(), more or {})

    def _readings_now(self, context: str) -> tuple[str, dict[str, Any]]:
        readings = self.plug.readings(self.limit_w())
        if self.fault == "stuck":
            readings = self._frozen = self._frozen or readings
        sampled = self.messages.sampled(readings, context, wrong=self.fault == "wrong_values")
        value = [{"timestamp": self.stamp(), "sampledValue": sampled}]
        if self.v16 or not self.transaction:
            return "MeterValues", self.messages.readings(value, self.transaction)
        trigger = "Trigger" if context == "Trigger" else "MeterValuePeriodic"
        return "TransactionEvent", self._event_message("Updated", trigger, {"meterValue": value})

    async def _readings(self, context: str) -> None:
        if self.fault == "garbage" and self._socket is not None:
            await self._socket.send('[2,"x","MeterValues",{"connectorId":')
            return
        action, payload = self._readings_now(context)
        await self._call(action, payload)

    def _keep_readings(self, context: str) -> None:
        action, payload = self._readings_now(context)
        if not self.v16 and action == "TransactionEvent":
            payload["offline"] = True
        self._kept_s = self._utc_s()
        self.kept.append((action, payload))

    def _work(self, happened: list[str]) -> None:
        """What happens at the plug while there is no line: who leaves has ended the session."""
        if "left" in happened and self.transaction:
            transaction, self.transaction = self.transaction, 0
            if self.v16:
                self.kept.append(("StopTransaction", {
                    "transactionId": transaction, "meterStop": round(self.plug.energy_wh), "timestamp": self.stamp(),
                }))  # fmt: skip
            else:
                ended = self._event_message("Ended", "EVDeparted", {"offline": True}, str(transaction))
                self.kept.append(("TransactionEvent", ended))

    async def _call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the central system; its answer, empty for an error of its."""
        async with self._turn:
            if self._socket is None:
                raise ConnectionResetError("no line")
            self._n += 1
            unique_id = f"{self.device.address[-12:]}-{self._n}"
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._answers[unique_id] = answer
            try:
                await self._socket.send(json.dumps([2, unique_id, action, payload], separators=(",", ":")))
                async with asyncio.timeout(ANSWER_S):
                    return await answer
            finally:
                self._answers.pop(unique_id, None)

    # ---- what it is told

    async def _listen(self, socket: ClientConnection) -> None:
        async for message in socket:
            if self.fault == "silent":
                continue
            frame = json.loads(message)
            if frame[0] == 2:
                answer = self._obey(frame[1], frame[2], frame[3])
                if answer:
                    await socket.send(json.dumps(answer, separators=(",", ":")))
                continue
            waiting = self._answers.get(frame[1])
            if waiting is not None and not waiting.done():
                waiting.set_result(frame[2] if frame[0] == 3 else {})

    def _obey(self, unique_id: str, action: str, payload: Mapping[str, Any]) -> list[Any]:
        self.calls_seen[action] = self.calls_seen.get(action, 0) + 1
        if self.fault == "callerror":
            return [4, unique_id, "InternalError", "a fault of the simulation", {}]
        self.plug_time()
        answer = carry_out(self, action, payload)
        if answer is None:
            return [4, unique_id, "NotImplemented", f"no {action} here", {}]
        return [3, unique_id, answer]

    def later(self, work: Any) -> None:
        """Do something after the answer has gone; a line that breaks meanwhile ends it."""
        task = asyncio.create_task(work)
        task.add_done_callback(_line_broke)

    async def triggered(self, message: str) -> None:
        """Send what was asked for."""
        if message == "MeterValues":
            await self._readings("Trigger")
        elif message == "StatusNotification":
            await self.status(force=True)
        elif message == "BootNotification":
            await self._boot()
        elif message == "Heartbeat":
            await self._call("Heartbeat", {})

    async def restart(self) -> None:
        """End the session and the line; it begins anew."""
        if self.transaction:
            await self.end_session("Reboot")
        if self._socket is not None:
            self._socket.transport.abort()


def _line_broke(task: asyncio.Task[None]) -> None:
    """A line that breaks is no bug; anything else is, and is raised to the event loop's handler."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LINE_ERRORS):
        raise error
