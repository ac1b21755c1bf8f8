"""One TALQ gateway and the lamps behind it: meet, list, configure its reports, listen, probe, command, come back.

DISCONNECTED → CONNECTING → IDENTIFYING → ONLINE ⇄ DEGRADED → BACKOFF → CONNECTING. Values come by themselves: the
gateway samples what we asked for and delivers changes within seconds and everything once a minute to our door. We only
ask whether it lives, and read its devices page by page while it does not deliver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.io.field.claims import Claim, ClaimedElsewhereError
from gwanje.io.field.errors import ConnectError, InvalidReplyError, LinkError
from gwanje.io.field.health import Health, State
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.scan import Backoff
from gwanje.io.field.street.floors import floor_of
from gwanje.io.field.talq import messages
from gwanje.io.field.talq.configure import configure
from gwanje.io.field.talq.dimming import Dimming
from gwanje.io.field.talq.link import BusyError, RefusedError, Reply, StrangerError, TalqLink
from gwanje.io.field.talq.points import Lamp, Member, Points, make_member
from gwanje.io.field.talq.schema import SchemaError, check_all
from gwanje.io.field.talq.settings import DEVICES_MAX, GatewaySettings
from gwanje.io.field.talq.surroundings import Surroundings

FAILURES_MAX = 2
"""Unanswered probes in a row after which the gateway counts as gone."""
FIRST_CONTACT_S = 10.0
"""A gateway that is not there when the city starts is reported after this long."""
QUIET_PERIODS = 2
"""So many full reports may be missed before its devices are read page by page."""
TURN_S = 1.0
"""How often refreshes, zones and links are looked at."""
REREAD_MAX = 8
"""Devices read by themselves in one turn, after their link came back; the others wait for the next full report."""
SKEW_IGNORED_S = 2.0
"""A difference of clocks below the grain of HTTP's dates and a slow answer."""


class Gateway:
    """See the module.

    Args:
        device: of the gateway.
        lamps: behind it.
        settings: of its ``params``.
        link: to it.
        claim: on its address.
        notices: tell the operators.
        around: what it shares.
        read_only: nothing may be changed: no reports are asked for, its devices are read page by page.
    """

    def __init__(
        self, device: Device, lamps: Sequence[Device], settings: GatewaySettings, link: TalqLink, claim: Claim,
        notices: Notices, around: Surroundings, *, token: str, uri: str, read_only: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._link = link
        self._claim = claim
        self._notices = notices
        self._around = around
        self._clock = around.clock
        self._read_only = read_only
        self.token = token
        self.uri = uri
        self.cms_address = messages.address_of(around.site_id, "cms")
        self.address = messages.address_of(around.site_id, "gateway", device.name)
        self._zone_address = messages.address_of(around.site_id, "zone", device.name)
        made = [make_member(one, around.columns, around.tags, around.base_quality(one)) for one in (*lamps, device)]
        self._own = made[-1]
        self.lamps = [Lamp(one, self.take, index) for index, one in enumerate(made[:-1])]
        self._members = made
        self.points = Points(made, around.columns, self._now, self._reached)
        zone = device.commands[0] if device.commands else None
        self._dark = next((one.slot for one in self._own.targets if one.place.function == "PhotocellFunction"), -1)
        self.dimming = Dimming(
            made[:-1], [floor_of(one) for one in lamps], None if zone is None else (zone, self._own.readback),
            self._zone_address, link, around.columns, around.tags, around.coverage, around.clock, notices, self.is_day,
            self.is_day_known, around.kept,
        )  # fmt: skip
        self._wake = asyncio.Event()
        self._met = asyncio.Event()
        self._backoff = Backoff(device.scan, around.chance)
        self._reread: list[Member] = []
        self._reported_mono_ns = 0
        self._page_offset = 0
        self._announced: bool | None = None
        self._identity = ""
        self._found_identity = ""
        self._renewed = False

    @property
    def device(self) -> Device:
        """Its configuration."""
        return self._own.device

    @property
    def health(self) -> Health:
        """How the gateway itself does."""
        return self._own.health

    def command(self, order: Order) -> str:
        """Have the whole zone dimmed; why not, or an empty text."""
        return self.take(order, -1)

    def take(self, order: Order, lamp: int) -> str:
        """Have a command sent; why not, or an empty text."""
        if not self.health.online:
            return "the gateway does not answer"
        why_not = self.dimming.take(order, lamp)
        self._wake.set()
        return why_not

    def is_day(self) -> bool:
        """Whether the gateway's photocell says so and can be believed."""
        columns = self._around.columns
        return self._dark >= 0 and columns.good(self._dark, self._clock.utc_ns()) and columns.value(self._dark) == 0.0

    def is_day_known(self) -> bool:
        """Whether there is no photocell to wait for, or it has told something that can be believed."""
        return self._dark < 0 or self._around.columns.good(self._dark, self._clock.utc_ns())

    def _now(self) -> tuple[int, int]:
        return self._clock.utc_ns(), self._clock.mono_ns()

    # ---- what the gateway sends to our door

    def announced(self, gateway: dict[str, Any]) -> dict[str, Any]:
        """It announces itself: it gets its address and learns ours, and is asked anew for all we want of it."""
        self._renewed = True
        self._wake.set()
        functions = []
        for function in gateway.get("functions", ()):
            if function.get("type") == "GatewayFunction":
                given = {"gatewayAddress": self.address, "cmsAddress": self.cms_address}
                text = {key: {"type": "AttributeString", "value": value} for key, value in given.items()}
                function = {**function, **text}
            functions.append(function)
        return {**gateway, "address": self.address, "functions": functions}

    def introduced(self) -> None:
        """It has told its services or classes: it can be asked now."""
        self._met.set()

    def listed(self, devices: Any) -> None:
        """It lists devices, new or changed.

        Raises:
            MessageError: these are none.
        """
        self._list(messages.read_devices(devices))

    def _list(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Devices' addresses and whatever values stand there."""
        for device in devices:
            if self.points.listed(device) is not None:
                for entry in messages.read_device(device):
                    self.points.take(entry)
        self._flush()

    def reported(self, report: Any) -> None:
        """It delivers a log.

        Raises:
            MessageError: this is no log report.
        """
        now_utc_ns, now_ns = self._now()
        taken, before, oldest = 0, self.points.refused, now_utc_ns
        for entry in messages.read_report(report):
            self.points.take(entry)
            taken += 1
            if isinstance(entry, messages.Entry) and entry.utc_ns:
                oldest = min(oldest, entry.utc_ns)
        self._reported_mono_ns = now_ns
        self.health.reads += taken
        self.health.errors += self.points.refused - before
        delay_ns = (self._settings.sample_s + 1) * NS_PER_S
        self._around.meter.scanned(now_utc_ns - oldest - delay_ns)
        if self.dimming.verifying:
            self.dimming.look()
        self._flush()

    def _flush(self) -> None:
        self._around.columns.flush(self._clock.mono_ns())

    def _reached(self, member: Member) -> None:
        if len(self._reread) < REREAD_MAX and member.address:
            self._reread.append(member)
            self._wake.set()

    # ---- what we do

    async def run(self) -> None:
        """Drive the gateway for as long as the part lives."""
        try:
            await self._run()
        finally:
            await self._link.close()

    async def _run(self) -> None:
        started_ns = self._clock.mono_ns()
        while True:
            self.health.state = State.CONNECTING
            try:
                self._claim.take()
                self._renewed = False
                await self._meet()
                self.health.state = State.IDENTIFYING
                await self._identify()
                await self._configure()
                self._went_online()
                await self._live()
            except (LinkError, ClaimedElsewhereError) as error:
                self._went_offline(error, started_ns)
                await self._pause(error)

    async def _pause(self, error: LinkError) -> None:
        self.health.state = State.BACKOFF
        wait_s = self._backoff.next_s(isinstance(error, ConnectError) and error.refused)
        if isinstance(error, BusyError):
            wait_s = max(wait_s, error.retry_after_s)
        self._met.clear()
        if isinstance(error, StrangerError):
            await self._await(self._met, wait_s)
        else:
            await self._await(None, wait_s)

    @staticmethod
    async def _await(event: asyncio.Event | None, wait_s: float) -> None:
        if event is None:
            await asyncio.sleep(wait_s)
            return
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
        except TimeoutError:
            return

    async def _ask(self, path: str, **query: str | int) -> Reply:
        sent_ns = self._clock.mono_ns()
        reply = await self._link.get(path, **query)
        self.health.round_trip_ns = self._clock.mono_ns() - sent_ns
        if reply.date_s:
            skew_s = reply.date_s + 0.5 - self._clock.utc_ns() / NS_PER_S
            self.dimming.skew_s = 0.0 if abs(skew_s) < SKEW_IGNORED_S else skew_s
        return reply

    async def _meet(self) -> None:
        """Ask for its services; a gateway that does not know us yet refuses."""
        reply = await self._ask("/services")
        try:
            check_all("AnyService", reply.content)
        except SchemaError as error:
            raise InvalidReplyError(f"its services: {error}") from None

    async def _identify(self) -> None:
        """Read all devices page by page: addresses, present values, who is missing."""
        self.points.forget()
        offset = 0
        while offset < DEVICES_MAX:
            n_listed = await self._page(offset)
            offset += n_listed
            if n_listed != self._settings.page:
                break  # the last page, or all of them: it knows no pages
        if not offset:
            raise InvalidReplyError("it has no devices")
        self._recognise()
        missing = [one for one in self._members if not one.address]
        self.points.spoil(missing, Quality.BAD | Quality.CONFIG)
        for one in missing:
            one.health.state = State.DISCONNECTED
        if missing:
            self._notices.misread(f"{len(missing)} devices unknown to it, such as {missing[0].device.address}")

    async def _page(self, offset: int) -> int:
        """One page of devices, checked, its values taken; how many stand on it, the broken ones too.

        Raises:
            InvalidReplyError: it is none.
        """
        reply = await self._ask("/devices", offset=offset, limit=self._settings.page)
        try:
            devices = messages.read_devices(reply.content)
        except messages.MessageError as error:
            if not offset or not isinstance(reply.content, list):
                raise InvalidReplyError(f"its devices: {error}") from None
            devices = []  # a later page of nothing but broken ones: the others are known
        self._list(devices)
        for device in devices:
            if device.get("address") == self.address:
                self._found_identity = messages.identity_of(device)
        self.health.reads += len(devices)
        return len(reply.content)

    def _recognise(self) -> None:
        """Tell when another gateway stands behind the address than before."""
        before, self._identity = self._identity, self._found_identity or self._identity
        if before and before != self._identity:
            self._notices.replaced(before, self._identity)

    async def _configure(self) -> None:
        """Make the group of all lamps and say what is to be reported; not in a site that is read only."""
        if not self._read_only:
            names = self._around.site_id, self.device.name
            await configure(
                self._link, names, self.cms_address, self.address, self._zone_address, self._members, self._settings,
                self._clock.utc_ns(),
            )  # fmt: skip

    def _went_online(self) -> None:
        self._backoff.reset()
        self._reported_mono_ns = self._clock.mono_ns()
        self.health.state = State.ONLINE
        for member in self._members:
            if member.address and not member.lost:
                member.health.state = State.ONLINE
                member.seen_mono_ns = self._clock.mono_ns()
        if self._announced is False:
            self._notices.online(self._identity)
        self._announced = True

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.dimming.give_up("the gateway went offline")
        for member in self._members:
            member.health.state = State.DISCONNECTED
        self.points.spoil(self._members, Quality.BAD | Quality.COMM)
        self._flush()
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))

    async def _live(self) -> None:
        """Listen, command and probe until the link is of no more use.

        Raises:
            LinkError: it is.
        """
        failures = 0
        probe_ns = self._clock.mono_ns() + round(self._settings.probe_s * NS_PER_S)
        while True:
            await self._await(self._wake, TURN_S)
            self._wake.clear()
            if self._renewed:
                raise StrangerError("it has announced itself anew")
            await self.dimming.obey()
            await self.dimming.tend()
            self.dimming.look()
            await self._read_again()
            self._flush()
            now_ns = self._clock.mono_ns()
            if now_ns < probe_ns:
                continue
            self._around.meter.scanned(now_ns - probe_ns - round(TURN_S * NS_PER_S))
            probe_ns = now_ns + round(self._settings.probe_s * NS_PER_S)
            try:
                await self._probe()
            except (BusyError, ConnectError, RefusedError) as error:
                failures += 1
                self.health.errors += 1
                self.health.state = State.DEGRADED
                if failures >= FAILURES_MAX or isinstance(error, ConnectError):
                    raise
            else:
                failures = 0

    async def _read_again(self) -> None:
        """Devices whose link came back are asked at once."""
        while self._reread:
            member = self._reread.pop()
            try:
                reply = await self._ask(f"/devices/{member.address}")
                self._list(messages.read_devices([reply.content]))
            except (RefusedError, messages.MessageError):
                self.health.errors += 1  # the next full report tells

    async def _probe(self) -> None:
        """Ask whether it lives; read a page while it reports nothing; see which lamps have fallen silent."""
        quiet_ns = self._clock.mono_ns() - self._reported_mono_ns
        quiet = self._read_only or quiet_ns > QUIET_PERIODS * self._settings.refresh_s * NS_PER_S
        if quiet:
            n_listed = await self._page(self._page_offset)
            self._page_offset = self._page_offset + n_listed if n_listed == self._settings.page else 0
        else:
            await self._ask("/devices/count")
        self.health.state = State.DEGRADED if quiet and not self._read_only else State.ONLINE
        silent_ns = self._clock.mono_ns() - round(3 * self._settings.refresh_s * NS_PER_S)
        for member in self._members:
            if member.address and not member.lost and not quiet:
                member.health.state = State.ONLINE if member.seen_mono_ns > silent_ns else State.DISCONNECTED

