"""The gate: which keys may come in now, and what is told of those that may not.

ZeroMQ asks it at every handshake (ZAP); the relay asks it again at every request. The files of the keys are looked at
once a second, so a key that is revoked is out within that time. Keys that cannot be read let nobody in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import zmq
from zmq.auth import Authenticator
from zmq.utils import z85

from gwanje.core.authority.keys import PUBLIC_FILE, SECRET_FILE, ClientKey, KeysError, SiteKeys
from gwanje.core.clock import NS_PER_S, Clock

LOOK_NS = NS_PER_S
"""Between two looks at the files: the longest that a revoked key lives on."""
TELL_NS = 10 * NS_PER_S
"""Of one reason, an event so often at most: a scanner at the door must not fill the journal."""
ADMITTED_NS = 60 * NS_PER_S
"""A key that comes in again within this is not told of anew: a console opens two connections, and reconnects."""


class Teller(Protocol):
    """Where the gate tells what happened."""

    def __call__(self, class_name: str, source: str, text_ko: str, text_en: str, count: int) -> None:
        """Publish an event."""


@dataclass(slots=True)
class Refusals:
    """Counts of what was refused, told now and then.

    Attributes:
        counts: reason → how often since the start.
    """

    tell: Teller
    clock: Clock
    counts: dict[str, int] = field(default_factory=dict)
    _told: dict[str, tuple[int, int]] = field(default_factory=dict)
    _last: dict[str, str] = field(default_factory=dict)

    def note(self, reason: str, source: str) -> None:
        """Something was refused.

        Args:
            reason: one of the few in :data:`TEXTS`.
            source: who it was, as far as anybody knows.
        """
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self._last[reason] = source
        self.step()

    def step(self) -> None:
        """Tell what is due."""
        now = self.clock.mono_ns()
        for reason, count in self.counts.items():
            told, when = self._told.get(reason, (0, now - TELL_NS))
            if count > told and now - when >= TELL_NS:
                self._told[reason] = count, now
                ko, en = TEXTS[reason]
                self.tell("remote_refused", self._last[reason], f"{ko} ({count - told})", f"{en} ({count - told})",
                          count - told)  # fmt: skip


TEXTS = {
    "unknown_key": ("원격 접속 거부: 모르는 키", "remote connection refused: unknown key"),
    "revoked_key": ("원격 접속 거부: 폐기된 키", "remote connection refused: revoked key"),
    "no_keys": ("원격 접속 거부: 키 파일을 읽을 수 없음", "remote connection refused: the keys cannot be read"),
    "handshake": ("원격 접속 거부: 암호화되지 않았거나 잘못된 접속", "remote connection refused: no CURVE, or broken"),
    "malformed": ("원격 요청 거부: 형식 오류", "remote request refused: malformed"),
    "not_allowed": ("원격 요청 거부: 이 키에 허용되지 않음", "remote request refused: not allowed to this key"),
    "flood": ("원격 요청 거부: 너무 많은 요청", "remote request refused: too many"),
}  # fmt: skip


class KeyRing:
    """The site's keys as the files say, looked at once a second."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Read them.

        Raises:
            KeysError: there are none, or they cannot be read.
        """
        self._folder, self._clock = folder, clock
        self._stamp = self._look()
        keys = SiteKeys.load(folder)
        if keys is None:
            raise KeysError(f"no keys in {folder}; make them with `gwanje keys init`")
        self._keys: SiteKeys | None = keys
        self._looked = clock.mono_ns()
        self._must_end = False
        self.trouble = ""

    @property
    def keys(self) -> SiteKeys | None:
        """As last read; None when they cannot be."""
        return self._keys

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """What changes when a file is replaced, written or opened to others."""
        found: list[tuple[int, ...]] = []
        for path in (self._folder / SECRET_FILE, self._folder / PUBLIC_FILE):
            try:
                one = path.stat()
                found.append((one.st_ino, one.st_mtime_ns, one.st_ctime_ns, one.st_size))
            except OSError:
                found.append(())
        try:
            found.append((self._folder.stat().st_mode,))
        except OSError:
            found.append(())
        return tuple(found)

    def step(self) -> bool:
        """Look at the files when it is time; whether connections must end: a key is out or the server's is new."""
        self._look_again(LOOK_NS)
        must_end, self._must_end = self._must_end, False
        return must_end

    def _look_again(self, age_ns: int) -> None:
        now = self._clock.mono_ns()
        if now - self._looked < age_ns:
            return
        self._looked = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        before = self._keys
        try:
            after = SiteKeys.load(self._folder)
            self.trouble = "" if after else f"the keys in {self._folder} are gone"
        except KeysError as error:
            after, self.trouble = None, str(error)
        self._stamp, self._keys = stamp, after
        new_server = before is not None and after is not None and before.server_secret != after.server_secret
        self._must_end |= new_server or bool(_live(before) - _live(after))

    def client(self, public: bytes) -> ClientKey | None:
        """Who holds a key and may come in. For one that nobody knows the files are looked at again."""
        found = None if self._keys is None else self._keys.client(public)
        if found is None:
            # ZeroMQ's clients never come again after a refusal, so a new key must work at once; files that have not
            # changed are not read, so a scanner at the door costs three stat() each
            self._look_again(0)
            found = None if self._keys is None else self._keys.client(public)
        return found

    def named(self, name: str) -> ClientKey | None:
        """A key by name that is still live."""
        clients = () if self._keys is None else self._keys.clients
        return next((one for one in clients if one.name == name and one.live), None)

    def why_not(self, public: bytes) -> tuple[str, str]:
        """Reason and name for a key that may not come in."""
        if self._keys is None:
            return "no_keys", ""
        known = next((one for one in self._keys.clients if one.public == public), None)
        return ("unknown_key", "") if known is None else ("revoked_key", known.name)


def _live(keys: SiteKeys | None) -> set[bytes]:
    """Keys that may come in."""
    return set() if keys is None else {one.public for one in keys.clients if one.live}


class Gate(Authenticator):
    """Answers ZeroMQ's questions about keys, in the loop of whoever calls :meth:`step`.

    Args:
        context: of the doors; nothing else may be in it.
        ring: who may come in.
        refusals: told of who may not.
        admitted: called with the name and role of who came in, at most once a minute each.
        clock: of the machine.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], ring: KeyRing, refusals: Refusals,
        admitted: Callable[[ClientKey], None], clock: Clock,
    ) -> None:  # fmt: skip
        super().__init__(context)
        self._ring, self._refusals, self._admitted, self._clock = ring, refusals, admitted, clock
        self._told: dict[str, int] = {}
        self.configure_curve_callback("*", self)
        self.start()

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether a key (in Z85) may come in; called by the library."""
        public = z85.decode(key)
        client = self._ring.client(public)
        if client is None:
            self._refusals.note(*self._ring.why_not(public))
            return False
        now = self._clock.mono_ns()
        if now - self._told.get(client.name, -ADMITTED_NS) >= ADMITTED_NS:
            self._told[client.name] = now
            self._admitted(client)
        return True

    def curve_user_id(self, client_public_key: bytes) -> str:
        """Name of the key's holder: what the request door reads as ``User-Id``."""
        client = self._ring.client(client_public_key)
        return "" if client is None else client.name

    def step(self) -> None:
        """Answer every question that waits."""
        while True:
            try:
                question = self.zap_socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            answering = self.handle_zap_message(question)
            try:
                answering.send(None)  # our callback waits for nothing, so this runs to its end
            except StopIteration:
                continue
            raise AssertionError("the authenticator waited")
