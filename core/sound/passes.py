"""What lets a person's request through to the part that has the sound: a pass that the core sealed a moment ago.

The core decides who listens or speaks. The part that owns microphones or loudspeakers must not believe anybody else,
and must not have to ask: so the core seals *passes* with a key made of the run's secret (``core-to-owner``, see
:mod:`gwanje.core.commands.owner`). A pass is for one part, one place and one listener, and good for two seconds;
whoever goes on has it renewed, and whoever may not any more is not renewed. There is nothing to revoke.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from gwanje.core.bus.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import NAME_MAX, Code, RequestError, take_text, take_whole

PASS_NS = 2 * NS_PER_S
"""How long a pass is good: so long a sound goes on at most after the core said no, or after the core died."""
_PURPOSE = b"gwanje sound pass"
_TEXTS = ("part", "grant_id", "place", "author", "remote_key")
_TIMES = ("begun_mono_ns", "ends_mono_ns", "until_mono_ns")
_LIMITS = Limits(4_096, containers=1, depth=1)


@dataclass(frozen=True, slots=True)
class Pass:
    """Somebody may hear or speak somewhere, now.

    Attributes:
        part: that serves it.
        grant_id: of the grant.
        place: node or camera.
        author: whose it is, for who is shown it.
        remote_key: key of another machine that the listener comes through; empty on this one.
        begun_mono_ns: when the grant began: nothing older is heard.
        ends_mono_ns: when the grant ends at the latest.
        until_mono_ns: how long this pass is good.
    """

    part: str
    grant_id: str
    place: str
    author: str
    remote_key: str
    begun_mono_ns: int
    ends_mono_ns: int
    until_mono_ns: int


def _key(secret: bytes) -> bytes:
    """A key of its own: what seals passes seals no commands, and the other way round."""
    return hmac.digest(secret, _PURPOSE, "sha256")


def seal(secret: bytes, one: Pass) -> dict[str, bytes]:
    """Members ``pass`` and ``mac`` of a request to the part."""
    sealed: bytes = msgpack.packb(asdict(one))
    return {"pass": sealed, "mac": hmac.digest(_key(secret), sealed, "sha256")}


def opened(secret: bytes, part: str, message: Mapping[str, Any], now_mono_ns: int) -> Pass:
    """The pass of a request.

    Args:
        secret: of the run; with an empty one nothing is let through.
        part: that was asked.
        message: the request.
        now_mono_ns: the time.

    Raises:
        RequestError: the core did not seal it, not for this part or this door, or it is not good any more.
    """
    sealed, mac = message.get("pass"), message.get("mac")
    if not isinstance(sealed, bytes) or not isinstance(mac, bytes) or not secret:
        raise RequestError(Code.NOT_FROM_CORE, "")
    if not hmac.compare_digest(hmac.digest(_key(secret), sealed, "sha256"), mac):
        raise RequestError(Code.NOT_FROM_CORE, "")
    try:
        content = unpack_map(sealed, _LIMITS)
    except FrameError as error:
        raise RequestError(Code.MALFORMED, str(error)[:NAME_MAX]) from None
    part_of, grant_id, place, author, remote_key = (take_text(content, key, empty=True) for key in _TEXTS)
    begun, ends, until = (take_whole(content, key) for key in _TIMES)
    one = Pass(part_of, grant_id, place, author, remote_key, begun, ends, until)
    if one.part != part:
        raise RequestError(Code.NOT_FROM_CORE, f"it is for {one.part}")
    if message.get("remote_key", "") != one.remote_key:
        raise RequestError(Code.SESSION_OVER, "it was granted through another door")
    if not now_mono_ns < min(one.until_mono_ns, one.ends_mono_ns):
        raise RequestError(Code.EXPIRY, "the pass is not good any more")
    return one
