"""The journal on the disk: an append-only chain of who asked what and what was answered, in segments, with a head.

One entry is one line of JSON. Its last member is the SHA-256 over the hash of the entry before it and the bytes of the
line without that member, so that no entry can be changed, dropped or moved without breaking every hash behind it::

    {"seq":7,"utc_ns":1767225600000000000,"kind":"command_accepted","data":{…},"hash":"9f…"}
     └──────────────── body: hash = SHA-256(previous hash, body) ────────────┘

The chain lies in files: ``journal-000001.jsonl``, ``journal-000002.jsonl`` … are full and never touched again, and
``journal.jsonl`` is the one being written; the first entry of each is chained to the last of the one before. A file
whose tail somebody had tampered with is kept as ``journal-000003-broken.jsonl``, and the next one is chained to the
SHA-256 of its bytes.

A chain alone can be rewritten as a whole, or cut at its end. Against both there is the *head*, ``journal.jsonl.head``:
sequence number and hash of the last entry that the disk has, signed with the site's key; entries of the kind
``journal_signed`` put the same signature into the chain once a minute.

This module reads; :mod:`gwanje.core.journal.writer` writes and :mod:`gwanje.core.journal.verify` checks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

GENESIS = hashlib.sha256(b"gwanje journal 1").digest()
"""What the first entry is chained to."""

ENTRY_BYTES_MAX = 16_384
"""Longest line: a command with its reason needs under 2 kB; more is a mistake or an attack."""

UNSIGNED_MAX = 64
"""Entries that may stand behind the head: what a killed writer leaves, and all that a forger could add unnoticed
before the next start counts and tells it."""

HEAD_BYTES = 512
"""Size of the head file: one sector, which a disk writes whole or not at all."""

_HASH_MEMBER = len(',"hash":""}') + 64
_HEAD_GENESIS = hashlib.sha256(b"gwanje journal head 1").digest()
_SEGMENT = re.compile(r"-(\d{6,})(-broken)?$")


class JournalError(OSError):
    """The journal cannot be written; nothing that must be journalled may happen."""


class JournalLockedError(JournalError):
    """Another process writes this journal."""


class ChainBrokenError(ValueError):
    """Whole lines at the end of a journal do not hold together."""


class Signer(Protocol):
    """The key that a site signs with; see :mod:`gwanje.core.authority.keys`."""

    @property
    def key_id(self) -> str:
        """Name of the key, by which its public half is found again."""

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature of ``data``, 64 bytes."""


class Verifier(Protocol):
    """The public half of a key."""

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether the key's owner signed ``data``."""


class PublicKeys(Protocol):
    """All public keys that a site ever signed with."""

    def public(self, key_id: str) -> Verifier | None:
        """The public half of a key; ``None`` for one that the site never had."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal.

    Attributes:
        seq: 1, 2, 3 … without gaps.
        utc_ns: wall clock when it was written.
        kind: one of :class:`EntryKind` (text, so that a later version's kinds can still be read).
        data: the members of the entry.
        hash: SHA-256 of the chain up to and with this entry, hex.
    """

    seq: int
    utc_ns: int
    kind: str
    data: Mapping[str, Any]
    hash: str


# ---------------------------------------------------------------- lines


def body_of(seq: int, utc_ns: int, kind: str, data: Mapping[str, Any]) -> bytes:
    """Canonical bytes of an entry without its hash.

    Raises:
        ValueError: the data is nothing that JSON can hold.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f'{{"seq":{seq},"utc_ns":{utc_ns},"kind":{json.dumps(kind)},"data":{text}}}'.encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def chained(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Hash of an entry as the chain wants it: digest, and the hex that its line must state."""
    digest = hashlib.sha256(previous + body).digest()
    return digest, digest.hex().encode()


def seal(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The line of a body, and the hash that the next one is chained to."""
    digest, stated = chained(previous, body)
    return body[:-1] + b',"hash":"' + stated + b'"}\n', digest


def unseal(line: bytes) -> tuple[bytes, bytes] | None:
    """Body and stated hash (hex as it stands there) of a line without newline; ``None`` when it has not that form."""
    if len(line) <= _HASH_MEMBER or not line.endswith(b'"}') or line[-_HASH_MEMBER:-66] != b',"hash":"':
        return None
    return line[:-_HASH_MEMBER] + b"}", line[-66:-2]


def parse_line(line: bytes) -> Entry:
    """An entry from its line (with or without newline).

    Raises:
        ValueError: the line is no entry.
    """
    try:
        table = json.loads(line)
        if not isinstance(table["data"], dict):
            raise TypeError("its data is no table")
        return Entry(int(table["seq"]), int(table["utc_ns"]), str(table["kind"]), table["data"], str(table["hash"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a journal entry: {error}") from None


# ---------------------------------------------------------------- signatures and the head


def signed_bytes(seq: int, hash_hex: str, utc_ns: int, key_id: str, closed: bool) -> bytes:
    """What a signature covers: everything up to entry ``seq``, when, with which key, and whether more may follow."""
    state = "closed" if closed else "open"
    return f"gwanje journal 1\n{seq}\n{hash_hex}\n{utc_ns}\n{key_id}\n{state}\n".encode()


@dataclass(frozen=True, slots=True)
class Head:
    """The noted end of a chain.

    Attributes:
        seq: of the last entry that the disk has.
        hash: of that entry, hex.
        utc_ns: wall clock when it was noted.
        closed: the writer stopped properly: nothing may follow.
        key: id of the key that signed it; empty without a key.
        signature: over :func:`signed_bytes`, hex; empty without a key.
    """

    seq: int
    hash: str
    utc_ns: int
    closed: bool
    key: str = ""
    signature: str = ""

    @classmethod
    def make(cls, seq: int, hash_hex: str, utc_ns: int, closed: bool, signer: Signer | None) -> Head:
        """Note an end, signed when there is a key."""
        if signer is None:
            return cls(seq, hash_hex, utc_ns, closed)
        signature = signer.sign(signed_bytes(seq, hash_hex, utc_ns, signer.key_id, closed))
        return cls(seq, hash_hex, utc_ns, closed, signer.key_id, signature.hex())

    def signed_bytes(self) -> bytes:
        """What its signature covers."""
        return signed_bytes(self.seq, self.hash, self.utc_ns, self.key, self.closed)

    def to_bytes(self) -> bytes:
        """The head file's :data:`HEAD_BYTES` bytes."""
        data = {"closed": self.closed, "hash": self.hash, "key": self.key, "signature": self.signature}
        line, _ = seal(_HEAD_GENESIS, body_of(self.seq, self.utc_ns, "head", data))
        assert len(line) <= HEAD_BYTES, "a key id has a few letters"
        return line[:-1].ljust(HEAD_BYTES - 1) + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Head:
        """Back from :meth:`to_bytes`.

        Raises:
            ValueError: a byte of it is not as it was written.
        """
        entry = parse_line(content)
        told = entry.data
        try:
            head = cls(
                entry.seq, str(told["hash"]), entry.utc_ns, bool(told["closed"]), str(told["key"]),
                str(told["signature"]),
            )  # fmt: skip
        except KeyError as error:
            raise ValueError(f"no {error}") from None
        if head.to_bytes() != content:
            raise ValueError("not as it was written")
        return head


# ---------------------------------------------------------------- files


def head_name(name: str) -> str:
    """Name of the head file beside the journal file ``name``."""
    return name + ".head"


def head_path(path: Path) -> Path:
    """The note of the chain's end beside a journal."""
    return path.with_name(head_name(path.name))


def segment_name(name: str, number: int, broken: bool = False) -> str:
    """Name of a full segment of the journal file ``name``, or of one that was set aside."""
    path = Path(name)
    return f"{path.stem}-{number:06d}{'-broken' if broken else ''}{path.suffix}"


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file of the chain that is not written any more."""

    number: int
    name: str
    broken: bool


def segments_of(name: str, names: Iterator[str] | list[str]) -> list[Segment]:
    """Those of ``names`` that are segments of the journal file ``name``, in the order of the chain."""
    own = Path(name)
    found = []
    for one in names:
        path = Path(one)
        match = _SEGMENT.fullmatch(path.stem.removeprefix(own.stem)) if path.stem.startswith(own.stem) else None
        if path.suffix == own.suffix and match is not None:
            found.append(Segment(int(match[1]), one, match[2] is not None))
    return sorted(found)


def files_of(path: Path) -> list[Path]:
    """Every file of a journal from the oldest to the one being written, as they are now.

    Raises:
        OSError: the folder cannot be read.
    """
    segments = [path.with_name(one.name) for one in segments_of(path.name, [p.name for p in path.parent.iterdir()])]
    return [*segments, path] if path.exists() else segments


def read(path: Path) -> Iterator[Entry]:
    """The entries of a journal from the first to the last, through all its segments; a torn last line is left out.

    Raises:
        ValueError: a whole line is no entry.
        OSError: it cannot be read.
    """
    for one in files_of(path):
        with open(one, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield parse_line(line)
