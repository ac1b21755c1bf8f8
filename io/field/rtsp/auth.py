"""Logging in to a camera: Digest (MD5, SHA-256) and Basic. Pure; passwords go in, header values come out.

Sources: RFC 7616 and RFC 2617 (Digest), RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_PAIR = re.compile(r'([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
CHALLENGE_MAX = 2_048
"""Realm and nonce of real cameras have a hundred bytes together."""


@dataclass(slots=True)
class Challenge:
    """What a camera demands, and how often it was answered.

    Attributes:
        scheme: ``digest`` or ``basic``.
        realm: of the camera.
        nonce: to be mixed in.
        algorithm: ``MD5`` or ``SHA-256``.
        qop: whether ``auth`` is offered.
        opaque: sent back as it came.
        stale: the nonce was too old, user and password may be right.
    """

    scheme: str
    realm: str = ""
    nonce: str = ""
    algorithm: str = "MD5"
    qop: bool = False
    opaque: str = ""
    stale: bool = False
    count: int = field(default=0)


def choose(headers: Iterable[str]) -> Challenge | None:
    """The best of the offered ways: Digest with SHA-256, Digest with MD5, Basic; None when we know none of them."""
    offers = [one for header in headers if (one := _parse(header)) is not None]
    order = {"SHA-256": 0, "MD5": 1}
    offers.sort(key=lambda one: 2 if one.scheme == "basic" else order[one.algorithm])
    return offers[0] if offers else None


def _parse(header: str) -> Challenge | None:
    scheme, _, rest = header[:CHALLENGE_MAX].strip().partition(" ")
    words = {key.lower(): quoted or plain for key, quoted, plain in _PAIR.findall(rest)}
    if scheme.lower() == "basic":
        return Challenge("basic", words.get("realm", ""))
    algorithm = (words.get("algorithm") or "MD5").upper()
    if scheme.lower() != "digest" or algorithm not in _HASHES or not words.get("nonce"):
        return None
    offered = [one.strip() for one in words.get("qop", "").split(",")]
    return Challenge(
        "digest", words.get("realm", ""), words["nonce"], algorithm, "auth" in offered, words.get("opaque", ""),
        words.get("stale", "").lower() == "true",
    )  # fmt: skip


def answer(
    challenge: Challenge, method: str, uri: str, user: str, password: str, token: Callable[[int], bytes]
) -> str:
    """The value of the header ``Authorization`` for one request."""
    if challenge.scheme == "basic":
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def digest(*words: str) -> str:
        return hashlib.new(_HASHES[challenge.algorithm], ":".join(words).encode(), usedforsecurity=False).hexdigest()

    first = digest(user, challenge.realm, password)
    second = digest(method, uri)
    words = {"username": user, "realm": challenge.realm, "nonce": challenge.nonce, "uri": uri}
    plain = {}
    if challenge.qop:
        challenge.count += 1
        plain = {"qop": "auth", "nc": f"{challenge.count:08x}"}
        words["cnonce"] = token(8).hex()
        words["response"] = digest(first, challenge.nonce, plain["nc"], words["cnonce"], "auth", second)
    else:
        words["response"] = digest(first, challenge.nonce, second)
    if challenge.opaque:
        words["opaque"] = challenge.opaque
    if challenge.algorithm != "MD5":
        plain["algorithm"] = challenge.algorithm
    quoted = [f'{key}="{_escaped(value) if key == "username" else value}"' for key, value in words.items()]
    return "Digest " + ", ".join([*quoted, *(f"{key}={value}" for key, value in plain.items())])


def _escaped(text: str) -> str:
    """A name as it stands between quotes; what the camera sent goes back as it came."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
