"""What ``gwanje check`` and ``gwanje up`` say of a ``[remote]`` table: nothing may listen without keys of this site."""

from __future__ import annotations

from pathlib import Path

from gwanje.core.authority.keys import KeysError, SiteKeys
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import KeyPath


def problems(site: Site, security_dir: Path) -> list[tuple[str, KeyPath, str]]:
    """(file, key path, reason) of what keeps the part ``remote`` from running."""
    if site.remote is None:
        return []
    try:
        keys = SiteKeys.load(security_dir)
    except KeysError as error:
        return [("site.toml", ("remote", "listen"), f"nothing may listen: {error}")]
    if keys is None:
        reason = f"nothing may listen without keys, and {security_dir} has none: make them with `gwanje keys init`"
        return [("site.toml", ("remote", "listen"), reason)]
    return []
