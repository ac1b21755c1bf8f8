"""The site in the memory of the process that all parts are forked from, so that none of them reads or unpacks it anew.

To hand a site of 25 000 tags to twenty parts one by one takes ten seconds. The fork server imports this module
(:data:`gwanje.core.city.supervisor.PRELOAD`) while the one who starts the city checks the same files, and its children
inherit :data:`SITE`. It is the one place that works while it is imported and that reads the environment: a fork server
can be told something in no other way.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Final

from gwanje.core.site.config import Site, load_site
from gwanje.core.site.toml_reader import ConfigErrors

VARIABLE: Final = "GWANJE_SITE_IMAGE"
"""Folder of the site, set by the supervisor before the fork server starts; absent everywhere else."""


class SiteChangedError(Exception):
    """The site's files are not those that the city was started with; the text is one line."""


def _read() -> Site | None:
    root = os.environ.get(VARIABLE)
    if not root:
        return None
    try:
        site = load_site(Path(root))
    except (ConfigErrors, OSError):
        return None  # the supervisor, which reads the same files, tells what is wrong with them
    gc.freeze()  # a collection in a part does not touch, and so not copy, what all parts share
    return site


SITE: Final = _read()


def site_of(root: Path, sha256: str, image: Site | None = SITE) -> Site:
    """The site in a folder: the one in memory when it is the same, else read now.

    Raises:
        ConfigErrors: the files are wrong now.
        SiteChangedError: they are others than those of ``sha256``.
    """
    if image is not None and image.sha256 == sha256:
        return image
    site = load_site(root)
    if site.sha256 != sha256:
        raise SiteChangedError(f"the files in {root} changed after the city was started: start it again")
    return site
