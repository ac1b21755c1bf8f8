"""Whether the addresses of a site's simulated devices are free: two cities cannot stand at the same ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from gwanje.core.city.run_dir import RunDirError, RunInfo
from gwanje.core.site.config import Site

TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Of /proc/net, with the state of a socket that somebody may connect or send to."""


def listened(folder: Path = Path("/proc/net")) -> frozenset[int]:
    """Ports of this machine that some program listens at."""
    found = set()
    for name, state in TABLES.items():
        try:
            lines = (folder / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        found |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == state}
    return frozenset(found)


def addresses(site: Site) -> Iterator[tuple[str, int]]:
    """Device or microphone and its port, of all that the simulated city opens on this machine."""
    hubs = {one.via for one in site.devices if one.simulated}
    for device in site.devices:
        if device.port and (device.simulated or device.name in hubs) and _here(device.host):
            yield device.name, device.port
    for node in site.nodes:
        url = urlsplit(node.url)
        if node.simulated and _here(url.hostname or ""):
            yield node.name, url.port or 554


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def why_taken(site: Site, taken: frozenset[int], cities: Path) -> str:
    """Why no simulated city of a site can start now, in one line; empty when one can.

    Args:
        site: of the city to be started.
        taken: ports that somebody listens at.
        cities: folder of the run directories of this user's cities.
    """
    wanted = [(name, port) for name, port in addresses(site) if port in taken]
    if not wanted:
        return ""
    name, port = wanted[0]
    more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    running = ", ".join(f"{one} (process {pid})" for one, pid in _running(cities))
    who = f"this city runs: {running}" if running else "another program listens there"
    return f"port {port} of {name}{more} is taken, {who}; stop it first"


def _running(cities: Path) -> Iterator[tuple[str, int]]:
    for folder in sorted(cities.glob("*")):
        try:
            yield folder.name, RunInfo.read(folder).pid
        except RunDirError:
            continue
