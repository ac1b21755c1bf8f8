"""``gwanje keys``: the keys of a site."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from gwanje.core.authority.keys import PUBLIC_FILE, SECRET_FILE, KeysError, SiteKeys, key_id_of
from gwanje.core.authority.principal import PEOPLE, Role
from gwanje.core.cli.parsing import DEFAULT_SITE, CommandError, Commands
from gwanje.core.cli.users import security_dir
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site


def add(commands: Commands) -> None:
    """Add the group."""
    keys = commands.group("keys", "keys of a site: of its server, for signing the journal, of programs off the machine")
    init = keys.add("init", _init, "make the site's first keys")
    listed = keys.add("list", _list, "all keys, without their secrets")
    rotate = keys.add("rotate", _rotate, "new server and signing keys; old journals stay verifiable")
    for one in (init, listed, rotate):
        one.add_argument("site", nargs="?", type=Path, default=DEFAULT_SITE, help="folder of the site")
    client = keys.add("add", _add, "a key for a program off the machine, and the bundle to bring there")
    client.add_argument("name")
    client.add_argument("--role", choices=[role.value for role in PEOPLE], required=True)
    client.add_argument("--out", type=Path, metavar="FILE", help="bundle to write (default: NAME.keys.json)")
    revoke = keys.add("revoke", _revoke, "end a program's key; its connections end within seconds")
    revoke.add_argument("name")
    for one in (client, revoke):
        one.add_argument("--site", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
    for one in (init, listed, rotate, client, revoke):
        one.add_argument("--data", type=Path, help="the site's data folder (default: the running city's, or var/)")
        one.add_argument("--run", dest="run_dir", type=Path, help="run directory of the city, when not the default")


def _folder(chosen: argparse.Namespace) -> tuple[str, Path]:
    site = load_site(chosen.site)
    return site.id, security_dir(chosen, site)


def _loaded(chosen: argparse.Namespace) -> tuple[str, SiteKeys]:
    site_id, folder = _folder(chosen)
    try:
        found = SiteKeys.load(folder)
    except KeysError as error:
        raise CommandError(str(error)) from None
    if found is None:
        raise CommandError(f"no keys in {folder}; make them with `gwanje keys init`")
    return site_id, found


def _init(chosen: argparse.Namespace) -> int:
    _site_id, folder = _folder(chosen)
    try:
        made = SiteKeys.create(folder, SystemClock().utc_ns())
    except KeysError as error:
        raise CommandError(str(error)) from None
    print(f"server key  {key_id_of(made.server_public)}  CURVE, for programs off the machine")
    print(f"signing key {made.signer.key_id}  Ed25519, signs the journal")
    print(f"secrets     {folder / SECRET_FILE}  (keep a copy in a safe; nobody else may read it)")
    print(f"public keys {folder / PUBLIC_FILE}  (whoever verifies the journal elsewhere needs it)")
    return 0


def _add(chosen: argparse.Namespace) -> int:
    site_id, keys = _loaded(chosen)
    path = chosen.out or Path(f"{chosen.name}.keys.json")
    if path.exists():
        raise CommandError(f"{path} exists; a bundle is never overwritten")
    try:
        _keys, bundle = keys.add_client(chosen.name, Role(chosen.role), site_id, SystemClock().utc_ns())
        bundle.write(path)
    except KeysError as error:
        raise CommandError(str(error)) from None
    print(f"key {chosen.name!r} ({chosen.role}) {key_id_of(bundle.public)}; known in {keys.folder / PUBLIC_FILE}")
    print(f"bundle {path}: bring it to the other machine on a safe way and remove it here; its secret is not kept")
    return 0


def _list(chosen: argparse.Namespace) -> int:
    _site_id, keys = _loaded(chosen)
    print(f"folder   {keys.folder}")
    print(f"server   {key_id_of(keys.server_public)}")
    for one in keys.verifiers:
        until = f"until {_date(one.until_utc_ns)}" if one.until_utc_ns else "in use"
        print(f"signing  {one.key_id}  from {_date(one.from_utc_ns)}  {until}")
    for client in keys.clients:
        state = "live" if client.live else f"revoked {_date(client.revoked_utc_ns)}"
        made = _date(client.created_utc_ns)
        print(f"client   {key_id_of(client.public)}  {client.role.value:10}  {client.name}  from {made}  {state}")
    return 0


def _revoke(chosen: argparse.Namespace) -> int:
    _site_id, keys = _loaded(chosen)
    try:
        keys.revoke(chosen.name, SystemClock().utc_ns())
    except KeysError as error:
        raise CommandError(str(error)) from None
    print(f"key {chosen.name!r} is revoked in {keys.folder}; a running city ends its connections within seconds")
    return 0


def _rotate(chosen: argparse.Namespace) -> int:
    _site_id, keys = _loaded(chosen)
    try:
        changed = keys.rotate(SystemClock().utc_ns())
    except KeysError as error:
        raise CommandError(str(error)) from None
    live = [one.name for one in changed.clients if one.live]
    print(f"folder      {changed.folder}")
    print(f"server key  {key_id_of(keys.server_public)} → {key_id_of(changed.server_public)}")
    print(f"signing key {keys.signer.key_id} → {changed.signer.key_id}; the old one still verifies what it signed")
    print("a running city signs with the new key, and ends every connection beyond the machine, within seconds")
    print(f"bring {changed.folder / PUBLIC_FILE} to whoever verifies the journal elsewhere")
    if live:
        print(f"these clients know the old server key: put server_public = {changed.server_public.hex()}")
        print(f"into their bundles: {', '.join(live)}")
    return 0


def _date(utc_ns: int) -> str:
    return f"{datetime.fromtimestamp(utc_ns / 1e9, UTC):%Y-%m-%d %H:%M:%SZ}"
