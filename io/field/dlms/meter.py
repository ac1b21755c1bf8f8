"""One meter (a logical device): its association, its registers, its load profile. Runs on its collector's link.

Nothing of a meter is ever written: what the session can build only reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.dlms import plan
from gwanje.io.field.dlms.framing import Way
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.notices import MeterNotices
from gwanje.io.field.dlms.profile import Entry, ProfileBook, Taken
from gwanje.io.field.dlms.session import ATTRIBUTES_MAX, Attribute, Counters, Keys, Refused, Session
from gwanje.io.field.errors import InvalidReplyError
from gwanje.io.field.health import Health, State
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet

CLIENT_SAP = 1
"""Management client, who reads what the keys allow; a profile may say otherwise."""
PUBLIC_SAP = 16
"""Public client: reads the invocation counter before the ciphered association."""
FRAME_COUNTER = "0.0.43.1.0.255"
PROFILE_OBIS = "1.0.99.1.0.255"
PROFILE_FIRST_S = 86_400.0
"""On first contact the profile of a day is read: 96 entries."""
PROFILE_MOST_S = 4 * 86_400.0
"""After a long silence no more than this is read at once."""
PROFILE_EVERY_S = 300.0


class Meter:
    """Runs one logical device.

    Args:
        device: its configuration.
        keys: how it lets us in.
        link: of its collector.
        tags: the site's tags.
        scan_s: seconds of each scan class.
        outlet: takes samples and events.
        clock: time.
        zone: of the meter's clock.
    """

    def __init__(
        self, device: Device, keys: Keys, link: MeterLink, tags: TagTable, scan_s: Mapping[str, float], outlet: Outlet,
        clock: Clock, zone: ZoneInfo,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self._keys = keys
        self._link = link
        self._outlet = outlet
        self._clock = clock
        self._zone = zone
        params = device.params
        self._way = Way(int(params.get("client", CLIENT_SAP)), int(device.address or 1))
        self._base = int(Quality.SIMULATED) if device.simulated else 0
        self.groups = plan.make_groups(device, tags, scan_s)
        self._columns = plan.make_columns(device, tags)
        profile: Mapping[str, Any] = params.get("profile", {})
        self.profile_period_s = float(profile.get("period_s", 900.0))
        self.profile_every_s = float(profile.get("every_s", PROFILE_EVERY_S)) if self._columns else 0.0
        self._profile = Attribute(plan.PROFILE, str(profile.get("obis", PROFILE_OBIS)), 2)
        energy = next((one for one in self._columns if one.word == "energy"), None)
        limits = (energy.low, energy.high) if energy else (-math.inf, math.inf)
        self.book = ProfileBook(self.profile_period_s, zone, *limits)
        self._counters = Counters()
        self._session: Session | None = None
        self._scalers = plan.Scalers()
        self._notices = MeterNotices(device, outlet, clock)
        self._identity = ""
        self._announced: bool | None = None
        self._last = {int(one): math.nan for group in self.groups for one in group.ids}

    def command(self, order: Order) -> str:
        """Nothing of a meter is written."""
        del order
        return "nothing of a meter is ever written"

    @property
    def associated(self) -> bool:
        """Whether the meter has let us in on this connection."""
        return self._session is not None

    def disconnected(self) -> None:
        """The connection is gone, and with it the association."""
        self._session = None

    async def identify(self) -> None:
        """Open the association; find out who it is and how its registers are scaled.

        Raises:
            LinkError: it does not let us in, or does not answer.
        """
        self.health.state = State.IDENTIFYING
        if self._keys.mechanism == "hls_gmac":
            await self._read_counter()
        session = Session(self._keys, self._counters)
        await self._link.run(self._way, session.associate())
        (name,) = await self._link.run(self._way, session.get([plan.NAME_AT]))
        identity = name.decode("latin-1") if isinstance(name, bytes) else ""
        if self._identity and identity != self._identity:
            self._notices.replaced(self._identity, identity)
        self._identity = identity
        self._scalers = plan.Scalers()
        registers = [one for group in self.groups for one in group.targets if one.attribute != plan.CLOCK_AT]
        for at in range(0, len(registers), ATTRIBUTES_MAX):
            some = registers[at : at + ATTRIBUTES_MAX]
            wanted = [Attribute(one.attribute.interface, one.attribute.obis, 3) for one in some]
            for target, item in zip(some, await self._link.run(self._way, session.get(wanted)), strict=True):
                self._scalers.take(target, item)
        self._notices.issues(self._scalers.issues)
        self._session = session
        self.health.state = State.ONLINE
        if self._announced is False:
            self._notices.online(identity)
        self._announced = True

    async def _read_counter(self) -> None:
        """Our counter as the meter knows it, by the public client; ours never goes back for it."""
        way = Way(PUBLIC_SAP, self._way.server)
        session = Session(Keys(), Counters())
        await self._link.run(way, session.associate())
        obis = str(self.device.params.get("frame_counter", FRAME_COUNTER))
        (value,) = await self._link.run(way, session.get([Attribute(plan.DATA, obis, 2)]))
        await self._link.leave(way, session.release())
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidReplyError(f"no invocation counter at {obis}")
        self._counters.client = max(self._counters.client, value)

    async def scan(self, group: plan.Group) -> None:
        """Read a group's registers.

        Raises:
            LinkError: no answer, or none that can be used; the association is to be opened anew.
        """
        assert self._session is not None, "identified before it is scanned"
        sent_ns = self._clock.mono_ns()
        items: list[plan.Item] = []
        for wanted in group.requests():
            items += await self._link.run(self._way, self._session.get(wanted))
        now_ns, utc_ns = self._clock.mono_ns(), self._clock.utc_ns()
        values, quality = plan.decode(group, items, self._scalers, self._zone, utc_ns, self._base)
        self._outlet.put(group.ids, values, quality, utc_ns, now_ns)
        self._last.update(zip(group.ids.tolist(), values.tolist(), strict=True))
        self.health.round_trip_ns = now_ns - sent_ns
        self.health.reads += 1
        self.health.state = State.ONLINE

    async def read_profile(self) -> None:
        """Read what the load profile has that we do not know, and publish it with its own time.

        Raises:
            LinkError: see :meth:`scan`.
        """
        assert self._session is not None, "identified before it is read"
        now_ns = self._clock.utc_ns()
        first_ns = now_ns - round((PROFILE_MOST_S if self.book.last_utc_ns else PROFILE_FIRST_S) * NS_PER_S)
        from_ns = max(first_ns, self.book.last_utc_ns + NS_PER_S)
        rows = await self._link.run(self._way, self._session.get_range(self._profile, from_ns, now_ns + NS_PER_S))
        if isinstance(rows, Refused):
            self._notices.issues([f"{self._profile.obis}: {rows.reason}"])
            return
        taken = self.book.take(rows, now_ns)
        self.publish(taken)

    def publish(self, taken: Taken) -> None:
        """Entries into the history, the newest also into the store; troubles are told, each kind once."""
        self.health.errors += len(taken.broken) + taken.contradictions
        self._notices.profile(taken)
        for entry in taken.entries:
            self._put_entry(entry, newest=entry is taken.entries[-1] and entry.utc_ns >= self.book.last_utc_ns)

    def _put_entry(self, entry: Entry, *, newest: bool) -> None:
        if not self._columns:
            return
        ids = np.array([one.tag_id for one in self._columns], np.int32)
        factors = [1.0 if one.word == "energy" else 3600.0 / self.profile_period_s for one in self._columns]
        values = entry.value * np.array(factors)
        quality = np.full(len(ids), entry.quality | self._base, np.uint16)
        times = np.full(len(ids), entry.utc_ns, np.int64)
        if newest:
            self._outlet.put_timed(ids, values, quality, times, self._clock.mono_ns())
        else:
            self._outlet.put_past(ids, values, quality, times)

    def failed(self, reason: str, *, tell: bool) -> None:
        """It does not answer, or not rightly: its registers are BAD until it does."""
        self.health.errors += 1
        self.health.state = State.BACKOFF
        self._session = None
        now_utc, now_mono = self._clock.utc_ns(), self._clock.mono_ns()
        for group in self.groups:
            values = np.array([self._last[int(one)] for one in group.ids])
            bits = np.full(len(group.ids), int(Quality.BAD | Quality.COMM) | self._base, np.uint16)
            self._outlet.put(group.ids, values, bits, now_utc, now_mono)
        if tell and self._announced is False:
            self._notices.issues([reason])  # it was gone; why it does not come back may be something else
        if tell and self._announced is not False:
            self._announced = False
            self._notices.offline(reason)
