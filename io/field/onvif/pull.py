"""What a camera tells by itself: its pull point, asked again and again; each request waits until something happens."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

from gwanje.io.field.errors import InvalidReplyError, LinkError
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.messages import Message
from gwanje.io.field.onvif.plan import CameraPlan
from gwanje.io.field.onvif.safe_xml import XmlError
from gwanje.io.field.onvif.soap import FaultError

LIFETIME_S = 60
"""A subscription of a process that died ends so soon: cameras have few."""
WAIT_S = 10.0
"""The camera holds an answer back for so long when nothing happens."""
GRACE_S = 3.0
"""And may be so late with it."""
LIMIT = 32
GAP_S = 0.05
"""Between two pulls: a camera that answers at once with nothing is not asked a thousand times a second."""
RETRY_S = 10.0
"""After a subscription that failed."""

Put = Callable[[Mapping[int, float | None]], None]


class PullPoint:
    """The events of one camera.

    Args:
        link: to it.
        plan: which events are tags.
        put: takes states; ``None`` is what nobody knows.
    """

    def __init__(self, link: OnvifLink, plan: CameraPlan, put: Put) -> None:
        self._link = link
        self._plan = plan
        self._put = put
        self._states: dict[int, float | None] = {}
        self.received = 0
        """Messages, ever."""

    async def run(self) -> None:
        """Pull until cancelled; a camera that tells no events leaves their tags unknown, and is asked again later."""
        while True:
            self._states = dict.fromkeys(self._plan.events.values())
            path = ""
            try:
                path = await self._subscribed()
                while True:
                    self._take(await self._pulled(path))
                    await asyncio.sleep(GAP_S)
            except (FaultError, LinkError):
                self._put(dict.fromkeys(self._states))
            await asyncio.sleep(RETRY_S)

    async def _subscribed(self) -> str:
        body = messages.create_pull_point(LIFETIME_S)
        return await self._link.ask("tev", body, "CreatePullPointSubscription", messages.parse_pull_point)

    async def _pulled(self, path: str) -> Sequence[Message]:
        """What happened meanwhile; the pull itself keeps the subscription, and where it does not, a renewal does."""
        answer: ET.Element = await self._link.call(
            "tev", messages.pull_messages(WAIT_S, LIMIT), "PullMessages", path=path, timeout_s=WAIT_S + GRACE_S
        )
        try:
            found = messages.parse_messages(answer)
        except XmlError as error:
            raise InvalidReplyError(str(error)) from None
        try:
            await self._link.call("wsnt", messages.renew(LIFETIME_S), "Renew", path=path)
        except FaultError as fault:
            if not fault.unsupported:
                raise
        return found

    def _take(self, found: Sequence[Message]) -> None:
        for one in found:
            self.received += 1
            for event, state in self._plan.states(one):
                self._states[self._plan.events[event]] = state
        self._put(self._states)  # told anew after every pull: what stays the same is known to be so
