"""The keys of a site: the CURVE pair of its server, its signing keys, and the keys of the programs that may come in.

They lie in the site's security folder, in two files that only their owner may read:

- ``secret-keys.json``: the server's CURVE secret and the signing key in use. It never leaves the machine.
- ``public-keys.json``: every public signing key with its time of validity, and every client's public key with name and
  role. An old journal stays verifiable after any number of rotations, also on a machine that has this file alone.

Keys are made on the site by ``gwanje keys init`` and nowhere else; there is none to begin with. A client's secret is
written once, into a bundle for the other machine, and is not kept here. CURVE keys are X25519 keys of 32 bytes, as
ZeroMQ takes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gwanje.core.authority.principal import PEOPLE, Role

SECRET_FILE, PUBLIC_FILE, LOCK_FILE = "secret-keys.json", "public-keys.json", "keys.lock"
KEY_BYTES = 32
MAX_FILE_BYTES = 1_048_576
"""A thousand clients and a thousand rotations; a larger file is not ours."""
MAX_CLIENTS = 1_000
"""Programs off the machine; a control centre has tens. Revoked keys count: they stay listed."""
MAX_SIGNING_KEYS = 1_000


class KeysError(Exception):
    """Keys cannot be made, read or changed; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public signing key.

    Attributes:
        key_id: first 16 hex digits of the key's SHA-256.
        public: the Ed25519 key, 32 bytes.
        from_utc_ns: when it came into use.
        until_utc_ns: when its successor did; 0 while it is in use.
    """

    key_id: str
    public: bytes
    from_utc_ns: int
    until_utc_ns: int = 0

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether this key's owner signed the data."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    def valid_at(self, utc_ns: int) -> bool:
        """Whether the key was in use at a moment."""
        return self.from_utc_ns <= utc_ns and (not self.until_utc_ns or utc_ns <= self.until_utc_ns)


class Signer:
    """The signing key in use."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public)

    def sign(self, data: bytes) -> bytes:
        """Signature of 64 bytes."""
        return self._key.sign(data)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A program off the machine that may come in, as long as it is not revoked.

    Attributes:
        name: unique among all that there ever were.
        role: the most that anybody may be who comes through this key.
        public: the CURVE key, 32 bytes.
    """

    name: str
    role: Role
    public: bytes
    created_utc_ns: int
    revoked_utc_ns: int = 0

    @property
    def live(self) -> bool:
        """Not revoked."""
        return self.revoked_utc_ns == 0


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a client needs on its machine: its own pair and the server's public key."""

    site: str
    name: str
    role: Role
    public: bytes
    secret: bytes
    server_public: bytes

    def write(self, path: Path) -> None:
        """Into a file that only its owner may read.

        Raises:
            KeysError: there is something already, or it cannot be written.
        """
        content = {key: value.hex() if isinstance(value, bytes) else value for key, value in asdict(self).items()}
        try:
            _write_new(path, json.dumps(content, indent=1))
        except FileExistsError:
            raise KeysError(f"{path} exists; a bundle is never overwritten") from None
        except OSError as error:
            raise KeysError(f"cannot write {path}: {error.strerror}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file.

        Raises:
            KeysError: it is missing, readable by others, or no bundle.
        """
        content = _read_map(path)
        try:
            keys = {name: _key(content[name]) for name in ("public", "secret", "server_public")}
            bundle = cls(str(content["site"]), str(content["name"]), Role(content["role"]), **keys)
        except (KeyError, ValueError, TypeError) as error:
            raise KeysError(f"{path} is no bundle of keys: {error}") from None
        if curve_public(bundle.secret) != bundle.public:
            raise KeysError(f"{path} is no bundle of keys: its public key is not its secret's")
        return bundle


def key_id_of(public: bytes) -> str:
    """Short name of a public key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def curve_public(secret: bytes) -> bytes:
    """Public half of a CURVE secret."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class SiteKeys:
    """All keys of a site as they stood when they were read. What changes them writes the files and gives new ones."""

    folder: Path
    server_secret: bytes
    signer: Signer
    verifiers: tuple[Verifier, ...]
    clients: tuple[ClientKey, ...]

    @property
    def server_public(self) -> bytes:
        """The CURVE key that clients must know."""
        return curve_public(self.server_secret)

    def public(self, key_id: str) -> Verifier | None:
        """A public signing key, in use or retired; None for one that this site never had."""
        return next((one for one in self.verifiers if one.key_id == key_id), None)

    def client(self, public: bytes) -> ClientKey | None:
        """Who holds a CURVE key and may come in; None for unknown and revoked keys alike."""
        return next((one for one in self.clients if one.public == public and one.live), None)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Keys of a site; None when none were made.

        Raises:
            KeysError: files are damaged, do not belong together, or others may read them.
        """
        if not (folder / SECRET_FILE).exists():
            if (folder / PUBLIC_FILE).exists():
                raise KeysError(f"{folder / SECRET_FILE} is missing, but {PUBLIC_FILE} is there")
            return None
        check_private(folder)
        secret = _read_map(folder / SECRET_FILE)
        try:
            server_secret, signing_secret = _key(secret["server_secret"]), _key(secret["signing_secret"])
        except (KeyError, ValueError, TypeError) as error:
            raise KeysError(f"{folder / SECRET_FILE} is damaged: {error}") from None
        signer = Signer(signing_secret)
        verifiers, clients = read_public(folder)
        if all(one.key_id != signer.key_id for one in verifiers):
            raise KeysError(f"{folder / PUBLIC_FILE} does not know the signing key of {SECRET_FILE}")
        return cls(folder, server_secret, signer, verifiers, clients)

    @classmethod
    def create(cls, folder: Path, utc_ns: int) -> Self:
        """Make the first keys of a site.

        Raises:
            KeysError: there are keys already, or the folder cannot be written or is open to others.
        """
        make_private(folder)
        with _locked(folder):
            for name in (SECRET_FILE, PUBLIC_FILE):
                if (folder / name).exists():
                    raise KeysError(f"{folder / name} exists; keys are never overwritten (see `gwanje keys rotate`)")
            signer = Signer(signing_secret := secrets.token_bytes(KEY_BYTES))
            verifier = Verifier(signer.key_id, signer.public, utc_ns)
            made = cls(folder, secrets.token_bytes(KEY_BYTES), signer, (verifier,), ())
            made._write(signing_secret)
        return made

    def add_client(self, name: str, role: Role, site: str, utc_ns: int) -> tuple[Self, Bundle]:
        """A key for a program off the machine.

        Raises:
            KeysError: the name is taken or no name, or the role is none for clients.
        """
        if role not in PEOPLE:
            raise KeysError(f"no key can have role {role.value}")
        if not name or len(name) > 64 or not all(sign.isalnum() or sign in "-_." for sign in name):
            raise KeysError(f"{name!r} is no name: letters, digits, '-', '_' and '.', at most 64")
        with _locked(self.folder):
            now = self._again()
            if any(one.name == name for one in now.clients):
                raise KeysError(f"there is or was a key {name!r} already; names are never used twice")
            if len(now.clients) >= MAX_CLIENTS:
                raise KeysError(f"there are {MAX_CLIENTS} keys already")
            secret = secrets.token_bytes(KEY_BYTES)
            client = ClientKey(name, role, curve_public(secret), utc_ns)
            changed = replace(now, clients=(*now.clients, client))
            changed._write_public()
        return changed, Bundle(site, name, role, client.public, secret, changed.server_public)

    def revoke(self, name: str, utc_ns: int) -> Self:
        """End a client's key for good.

        Raises:
            KeysError: there is no such key, or it is revoked already.
        """
        with _locked(self.folder):
            now = self._again()
            found = next((one for one in now.clients if one.name == name), None)
            if found is None:
                raise KeysError(f"no key {name!r}; see `gwanje keys list`")
            if not found.live:
                raise KeysError(f"key {name!r} is revoked already")
            ended = replace(found, revoked_utc_ns=utc_ns)
            changed = replace(now, clients=tuple(ended if one is found else one for one in now.clients))
            changed._write_public()
        return changed

    def rotate(self, utc_ns: int) -> Self:
        """New server pair and signing key. The old public signing key stays, with the end of its validity.

        The public file is written first: after a crash in between, the old keys go on and one public key more is known.

        Raises:
            KeysError: the files cannot be written.
        """
        with _locked(self.folder):
            now = self._again()
            if len(now.verifiers) >= MAX_SIGNING_KEYS:
                raise KeysError(f"there were {MAX_SIGNING_KEYS} signing keys already")
            signer = Signer(signing_secret := secrets.token_bytes(KEY_BYTES))
            ended = (one if one.until_utc_ns else replace(one, until_utc_ns=utc_ns) for one in now.verifiers)
            verifiers = (*ended, Verifier(signer.key_id, signer.public, utc_ns))
            changed = replace(
                now, server_secret=secrets.token_bytes(KEY_BYTES), signer=signer, verifiers=verifiers
            )
            changed._write(signing_secret)
        return changed

    def _again(self) -> Self:
        """What the files say now that the lock is held."""
        now = type(self).load(self.folder)
        if now is None:
            raise KeysError(f"the keys in {self.folder} are gone")
        return now

    def _write(self, signing_secret: bytes) -> None:
        self._write_public()
        secret = {"server_secret": self.server_secret.hex(), "signing_secret": signing_secret.hex()}
        _write_private(self.folder / SECRET_FILE, json.dumps(secret, indent=1))

    def _write_public(self) -> None:
        content = {
            "server_public": self.server_public.hex(),
            "signing": [{**asdict(one), "public": one.public.hex()} for one in self.verifiers],
            "clients": [{**asdict(one), "public": one.public.hex()} for one in self.clients],
        }
        _write_private(self.folder / PUBLIC_FILE, json.dumps(content, indent=1))


def read_public(folder: Path) -> tuple[tuple[Verifier, ...], tuple[ClientKey, ...]]:
    """Public signing keys and clients of a site.

    Raises:
        KeysError: the file is missing, damaged or open to others.
    """
    path = folder / PUBLIC_FILE
    content = _read_map(path)
    try:
        verifiers = tuple(_verifier(one) for one in content["signing"])
        clients = tuple(_client(one) for one in content["clients"])
    except (KeyError, ValueError, TypeError) as error:
        raise KeysError(f"{path} is damaged: {error}") from None
    for what, names in (("key", [one.public for one in clients]), ("name", [one.name for one in clients])):
        if len(set(names)) != len(names):
            raise KeysError(f"{path} is damaged: two clients have the same {what}")
    return verifiers, clients


def _verifier(content: Mapping[str, Any]) -> Verifier:
    public = _key(content["public"])
    if content["key_id"] != key_id_of(public):
        raise ValueError(f"{content['key_id']!r} is not the key's id")
    return Verifier(key_id_of(public), public, _when(content["from_utc_ns"]), _when(content["until_utc_ns"]))


def _client(content: Mapping[str, Any]) -> ClientKey:
    role = Role(content["role"])
    if role not in PEOPLE:
        raise ValueError(f"role {role.value}")
    times = _when(content["created_utc_ns"]), _when(content["revoked_utc_ns"])
    return ClientKey(str(content["name"]), role, _key(content["public"]), *times)


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes")
    return key


def _when(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError(f"{number!r} is no time")
    return number


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter, or check that it is one.

    Raises:
        KeysError: it cannot be made, belongs to somebody else, or is open to others.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise KeysError(f"cannot make {folder}: {error.strerror}") from None
    check_private(folder)


def check_private(path: Path) -> None:
    """Check that a file or folder belongs to this user and is open to nobody else.

    Raises:
        KeysError: it is missing, somebody else's, or open to others.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise KeysError(f"cannot read {path}: {error.strerror}") from None
    if found.st_uid != os.geteuid():
        raise KeysError(f"{path} belongs to somebody else")
    if found.st_mode & 0o077:
        wanted = "0700" if path.is_dir() else "0600"
        raise KeysError(f"{path} is open to others (mode {found.st_mode & 0o777:04o}); do `chmod {wanted} {path}`")


def _read_map(path: Path) -> dict[str, Any]:
    check_private(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise KeysError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        parsed = json.loads(content)
    except OSError as error:
        raise KeysError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise KeysError(f"{path} is damaged: {error}") from None
    if not isinstance(parsed, dict):
        raise KeysError(f"{path} is damaged: not a JSON object")
    return parsed


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two `gwanje keys` at a time would lose each other's changes."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeysError(f"cannot write {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_new(path: Path, text: str) -> None:
    """A file that was not there, readable by its owner alone from its first moment, on disk before this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _write_private(path: Path, text: str) -> None:
    """Replace a file as a whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        _write_new(new, text)
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeysError(f"cannot write {path}: {error.strerror}") from None
