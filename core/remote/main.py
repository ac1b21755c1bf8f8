"""The part ``remote``: the city's streams and services for programs off the machine, for keys made on the site.

It runs only where ``site.toml`` has a table ``[remote]``, and listens only with keys: see :mod:`gwanje.core.remote`.
"""

from __future__ import annotations

from gwanje.core.authority.keys import KeysError
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.remote.gate import KeyRing
from gwanje.core.remote.server import DoorError, RemoteServer, limit_descriptors

WAIT_MS = 200
"""Between two looks at the keys and at whether to stop."""


def main(ctx: PartContext) -> None:
    """Run the part until it is asked to stop.

    Raises:
        PartError: there are no keys, or the address cannot be listened on.
    """
    settings = ctx.site.remote
    if settings is None:
        raise PartError("site.toml has no table [remote]: nothing listens beyond this machine")
    limit_descriptors()
    try:
        server = RemoteServer(settings, KeyRing(ctx.options.security_dir, ctx.clock), ctx.bus)
    except (KeysError, DoorError) as error:
        raise PartError(f"nothing listens beyond this machine: {error}") from None
    try:
        while not ctx.stopping():
            ctx.heartbeat()
            server.step(WAIT_MS)
    except DoorError as error:
        raise PartError(str(error)) from None
    finally:
        server.close()
