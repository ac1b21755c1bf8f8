"""One camera's driver: find it, watch where it looks and what it tells, move it, speak through it.

The position is asked for in the profile's scan class, and four times a second while the camera moves. Events come by a
pull point, a request that the camera answers when something happens. Both end together when the camera is gone; what
it was doing by our command it stops by its own time-out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.core.sound.chirp import LEVEL_DB, chirp
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.claims import Claim
from gwanje.io.field.errors import ConnectError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.notices import Notices
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.backchannel import RATE_HZ
from gwanje.io.field.onvif.link import Found, OnvifLink
from gwanje.io.field.onvif.messages import Position, PtzStatus
from gwanje.io.field.onvif.plan import SPEEDS, CameraPlan, Deed
from gwanje.io.field.onvif.prompts import Prompt
from gwanje.io.field.onvif.ptz import AXES, Drives, Halt, Move, preset_at
from gwanje.io.field.onvif.pull import PullPoint
from gwanje.io.field.onvif.soap import FaultError
from gwanje.io.field.onvif.speaker import Samples, Speaker
from gwanje.io.field.onvif.survey import Seen, presets_of, survey
from gwanje.io.field.onvif.view import View
from gwanje.io.field.order_queue import OrderQueue
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.scan import Backoff

MOVING_S = 0.25
"""How often a camera that moves is asked where it is."""
SETTLE_S = 1.0
"""After a command a camera is asked that often for so long even if it says that it stands: it may not have begun."""
FAILURES_MAX = 2
"""Unanswered requests in a row after which the camera counts as gone."""
RESURVEY_S = 20.0
"""How often a camera that lacks something is asked whether it has it now: services come back by themselves."""
FIRST_CONTACT_S = 5.0
"""A camera that is not there when the city starts is reported after this long; before, it may still be starting."""

Coverage = Callable[[int], int]


class CameraDriver:
    """Runs one camera.

    Args:
        device: its configuration.
        plan: made of it.
        link: its web services, used by this driver alone.
        claim: on its address.
        prompts: what its loudspeaker can say, from number 1.
        scan_s: seconds between two looks at a camera that stands.
        until_mono_ns: of a tag: negative when nobody may write it.
        chance: source of the back-off's jitter.
    """

    def __init__(
        self, device: Device, plan: CameraPlan, link: OnvifLink, claim: Claim, prompts: Sequence[Prompt],
        speaker: Speaker, tags: TagTable, scan_s: float, outlet: Outlet, until_mono_ns: Coverage, clock: Clock,
        chance: random.Random, meter: Meter,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self.speaker = speaker
        self._plan = plan
        self._link = link
        self._claim = claim
        self._prompts = prompts
        self._scan_s = scan_s
        self._clock = clock
        self._meter = meter
        self._backoff = Backoff(device.scan, chance)
        self._notices = Notices(device, outlet, clock)
        self._awake = asyncio.Event()
        self._orders = OrderQueue(clock, lambda point: until_mono_ns(tags.index(point)) < 0, self._awake.set)
        self._drives = Drives(plan.revert_s)
        self._view = View(plan, tags, outlet, clock, Quality.SIMULATED if device.simulated else Quality.GOOD)
        self._pull = PullPoint(link, plan, self._view.put)
        self._seen = Seen()
        self._last: PtzStatus | None = None
        self._going_to = 0
        self._busy_until_ns = 0
        self._unanswered = 0
        self._resurvey_ns = 0
        self._announced: bool | None = None
        self._found: Found | None = None
        speaker.address = self._stream_address
        speaker.changed = self._speaking

    async def run(self) -> None:
        """Serve the camera until cancelled."""
        started_ns = self._clock.mono_ns()
        while True:
            error = await self._live()
            self._went_offline(error, started_ns)
            self.health.state = State.BACKOFF
            await asyncio.sleep(self._backoff.next_s(isinstance(error, ConnectError) and error.refused))

    async def _live(self) -> LinkError:
        """From finding the camera to losing it; gives what ended it."""
        pulling: asyncio.Task[None] | None = None
        try:
            self._claim.take()
            self.health.state = State.CONNECTING
            await self._identify()
            if self._plan.events:
                pulling = asyncio.create_task(self._pull.run(), name=f"{self.device.name} events")
            await self._serve(pulling)
        except LinkError as error:
            return error
        except FaultError as fault:
            return LinkError(f"refuses: {fault}")
        finally:
            if pulling is not None:
                pulling.cancel()
                await asyncio.gather(pulling, return_exceptions=True)
        raise AssertionError("a camera is served until it fails")

    async def _identify(self) -> None:
        """Who it is, and what of it can be used.

        Raises:
            LinkError, FaultError: it is no camera that can be used.
        """
        before = self._found
        self._found = found = await self._link.identify()
        self.health.state = State.IDENTIFYING
        if before is not None and before.information != found.information:
            self._notices.replaced(str(before.information), str(found.information))
        self._seen = await survey(self._link, self._plan)
        for issue in self._seen.issues:
            self._notices.misread(issue)
        self._resurvey_ns = self._clock.mono_ns() + round(RESURVEY_S * NS_PER_S)
        self._drives.forget()
        self._unanswered = 0

    async def _serve(self, pulling: asyncio.Task[None] | None) -> None:
        """Look, obey and keep moving; ends only by an error.

        Raises:
            LinkError: the camera is gone.
        """
        due_ns = self._clock.mono_ns()
        while True:
            await self._pause(due_ns)
            if pulling is not None and pulling.done():
                pulling.result()
            await self._obey()
            await self._keep_moving()
            now_ns = self._clock.mono_ns()
            if now_ns >= due_ns:
                self._meter.scanned(now_ns - due_ns)
                await self._look()
                now_ns = self._clock.mono_ns()
            soon = self._active(now_ns)
            next_ns = now_ns + round((MOVING_S if soon else self._scan_s) * NS_PER_S)
            due_ns = next_ns if now_ns >= due_ns else min(due_ns, next_ns)

    def _active(self, now_ns: int) -> bool:
        """Whether the camera moves, or may be about to."""
        moving = self._last is not None and bool(self._last.moving)
        return self._seen.ptz and (moving or self._drives.told or now_ns < self._busy_until_ns)

    async def _pause(self, due_ns: int) -> None:
        drives_ns = self._drives.due_mono_ns()
        until_ns = min(due_ns, drives_ns) if drives_ns else due_ns
        wait_ns = until_ns - self._clock.mono_ns()
        if wait_ns <= 0 or self._orders.waiting:
            return
        self._awake.clear()
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """One look: where it is, whether it moves; without PTZ whether it is there at all.

        Raises:
            LinkError: it is gone.
        """
        sent_ns = self._clock.mono_ns()
        status: PtzStatus | None = None
        try:
            if self._seen.ptz:
                body = messages.get_status(self._seen.profile)
                status = await self._link.ask("tptz", body, "GetStatus", messages.parse_status)
            else:
                await self._link.call("tds", messages.get_time(), "GetSystemDateAndTime", login=False)
            await self._survey_again(sent_ns)
        except (NoAnswerError, FaultError) as error:
            self._failed(error)
            return
        self._unanswered = 0
        self.health.round_trip_ns = self._clock.mono_ns() - sent_ns
        self.health.reads += 1
        self.health.state = State.ONLINE
        self._last = status
        preset: int | None = None
        speeds: dict[str, float] = {}
        if status is not None:
            preset = self._at_preset(status.position, status.moving)
            speeds = {axis: self._drives.speed(axis, sent_ns) for axis in AXES}
        self._view.status(status, preset, speeds, self._seen.number, self._link.skew_ns)
        if self._announced is not True:
            if self._announced is False:
                self._notices.online(str(self._found.information) if self._found else "")
            self._announced = True
        if self.health.reads % 16 == 0:
            self._backoff.reset()

    async def _survey_again(self, now_ns: int) -> None:
        """Ask a camera that lacked something what it has now.

        Raises:
            LinkError, FaultError: it does not answer, or refuses.
        """
        if not self._seen.issues or now_ns < self._resurvey_ns:
            return
        self._resurvey_ns = now_ns + round(RESURVEY_S * NS_PER_S)
        await self._link.ask_services()
        known, self._seen = self._seen.issues, await survey(self._link, self._plan)
        for issue in self._seen.issues:
            if issue not in known:
                self._notices.misread(issue)

    def _failed(self, error: NoAnswerError | FaultError) -> None:
        self.health.errors += 1
        self.health.state = State.DEGRADED
        self._view.unseen(Quality.DEVICE_FAILURE if isinstance(error, FaultError) else Quality.COMM)
        self._unanswered += 1
        if self._unanswered >= FAILURES_MAX:
            raise LinkError(str(error))

    def _at_preset(self, place: Position, moving: bool | None) -> int:
        """The preset that the camera looks at; where it tells no positions, the one it was sent to, once it stands."""
        known = preset_at(place, self._seen.presets)
        if known or not self._going_to:
            return known
        target = self._seen.presets.get(self._going_to)
        told = target is not None and target.position is not None
        return self._going_to if not moving and not told and self._clock.mono_ns() >= self._busy_until_ns else 0

    def command(self, order: Order) -> str:
        """Carry out a command soon; why not, or an empty text."""
        return self._orders.take(order, self.health.online)

    async def _obey(self) -> None:
        """Carry out what was commanded.

        Raises:
            LinkError: the camera is gone.
        """
        while (order := self._orders.next()) is not None:
            deed = self._plan.deeds.get(order.command.point)
            if deed is None:
                order.report("refused", "the camera has no such point")
                continue
            try:
                await self._do(deed, order)
            except (FaultError, WriteForbiddenError) as error:
                self.health.errors += isinstance(error, FaultError)
                order.report("refused", str(error))
            except LinkError as error:
                order.report("timed_out", str(error))
                raise

    async def _do(self, deed: Deed, order: Order) -> None:
        value = order.command.value
        if deed.do == "prompt":
            self._say(deed, order)
            return
        if deed.do == "chirp":
            self._test(order)
            return
        if not self._seen.ptz:
            order.report("refused", "the camera has no PTZ")
            return
        now_ns = self._clock.mono_ns()
        if deed.do in SPEEDS:
            self._drives.hold(deed.do.removesuffix("_speed"), value, now_ns, deed.hold_s)
            await self._drive()
            self._view.put({deed.tag_id: value})
        elif deed.do == "preset" and not await self._go(round(value), order):
            return
        elif deed.do in ("pan", "tilt", "zoom"):
            await self._aim(deed.do, value)
        elif deed.do == "home" and value:
            await self._begin(messages.goto_home(self._seen.profile), "GotoHomePosition")
        elif deed.do == "stop" and value:
            await self._begin(messages.stop(self._seen.profile), "Stop")
        if deed.do in ("home", "stop"):
            self._view.put({deed.tag_id: value})  # shown until the next look: a push button springs back
        order.report("accepted", "")

    async def _begin(self, body: str, operation: str) -> None:
        """Something else than held speeds: they are over with it."""
        self._drives.forget()
        self._going_to = 0
        await self._link.call("tptz", body, operation)
        self._busy_until_ns = self._clock.mono_ns() + round(SETTLE_S * NS_PER_S)

    async def _go(self, number: int, order: Order) -> bool:
        """Go to a preset; presets that are not known are read anew once."""
        if number not in self._seen.presets:
            self._seen.presets = await presets_of(self._link, self._plan, self._seen)
        preset = self._seen.presets.get(number)
        if preset is None:
            known = ", ".join(map(str, sorted(self._seen.presets)[:20])) or "none"
            order.report("refused", f"the camera has no preset {number} (it has {known})")
            return False
        if self._orders.expired(order):  # reading the presets took its time
            order.report("expired", "")
            return False
        await self._begin(messages.goto_preset(self._seen.profile, preset.token), "GotoPreset")
        self._going_to = number
        return True

    async def _aim(self, axis: str, value: float) -> None:
        """Turn one axis to a position, the others stay.

        Raises:
            FaultError: nobody knows where the others are.
        """
        place = self._last.position if self._last is not None else Position()
        now = {"pan": place.pan, "tilt": place.tilt, "zoom": place.zoom, axis: value}
        pan, tilt, zoom = now["pan"], now["tilt"], now["zoom"]
        if pan is None or tilt is None or zoom is None:
            raise FaultError(("NotSupported",), "the camera does not tell its position")
        await self._begin(messages.absolute_move(self._seen.profile, pan, tilt, zoom), "AbsoluteMove")

    async def _drive(self) -> None:
        """Tell the drives what is due: speeds with a time-out, or the stop.

        Raises:
            LinkError: the camera is gone; it stops by its time-out.
        """
        action = self._drives.next(self._clock.mono_ns())
        if action is None:
            return
        try:
            match action:
                case Move(pan, tilt, zoom, timeout_s):
                    body = messages.continuous_move(self._seen.profile, pan, tilt, zoom, timeout_s)
                    await self._link.call("tptz", body, "ContinuousMove")
                case Halt():
                    await self._link.call("tptz", messages.stop(self._seen.profile), "Stop")
        except (FaultError, WriteForbiddenError):
            self._drives.forget()
            raise
        now_ns = self._clock.mono_ns()
        self._drives.done(action, now_ns)
        self._going_to = 0
        self._busy_until_ns = now_ns + round(SETTLE_S * NS_PER_S)

    async def _keep_moving(self) -> None:
        """What time alone asks of the drives; a camera that refuses it stands by its time-out, and that is told.

        Raises:
            LinkError: the camera is gone.
        """
        try:
            await self._drive()
        except (FaultError, WriteForbiddenError) as error:
            self.health.errors += 1
            self._notices.setpoint(self.device.prefix, f"move: {error}")

    def _say(self, deed: Deed, order: Order) -> None:
        number = round(order.command.value)
        if number == 0:
            self.speaker.cancel()
            order.report("accepted", "")
            return
        if self._seen.mute:
            order.report("refused", self._seen.mute)
            return
        if not 1 <= number <= len(self._prompts):
            order.report("refused", f"there is no prompt {number}")
            return
        prompt = self._prompts[number - 1]
        why_not = self.speaker.say(number, prompt, order.command.expires_mono_ns, order.report)
        if why_not:
            order.report("refused", why_not)

    def _test(self, order: Order) -> None:
        """The sound of the self-test; the acoustic chain listens for it."""
        if not order.command.value:
            order.report("accepted", "")
            return
        level_db = self.device.params.get("self_test", {}).get("level_db", LEVEL_DB)
        why_not = self._seen.mute or self.speaker.test(
            chirp(RATE_HZ, level_db), order.command.expires_mono_ns, order.report
        )
        if why_not:
            order.report("refused", why_not)

    def speak(self, blocks: AsyncIterator[Samples], until_mono_ns: int, tell: Callable[[str, str], None]) -> str:
        """Let somebody speak live; why not, or an empty text. Arguments as :meth:`Speaker.speak`."""
        if not self.health.online:
            return "the camera does not answer"
        return self._seen.mute or self.speaker.speak(blocks, until_mono_ns, tell)

    def _speaking(self, number: int) -> None:
        """The loudspeaker says something else now."""
        self._view.speaks(number, online=self.health.online)

    async def _stream_address(self) -> str:
        """Where to speak, asked of the camera.

        Raises:
            LinkError: it does not tell.
        """
        media = self._link.media
        try:
            body = messages.get_stream_uri(media or "trt", self._seen.profile)
            uri = await self._link.ask(media or "trt", body, "GetStreamUri", messages.parse_stream_uri)
        except FaultError as fault:
            raise LinkError(f"tells no stream: {fault}") from None
        return self._link.stream_address(uri)

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.health.state = State.DISCONNECTED
        self._orders.give_up("the camera went offline")
        self._drives.forget()
        self._view.gone()
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))

