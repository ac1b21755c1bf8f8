"""The ``[remote]`` table of ``site.toml``: where programs off the machine may connect. Without it nothing listens."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gwanje.core.site.toml_reader import Reader

PUBLISH_PORT, REQUEST_PORT = 17_670, 17_671
TOPICS = ("scan", "past", "event", "alarm")


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """Where the part ``remote`` listens.

    Attributes:
        listen: address of the machine's own, such as ``10.1.0.5``; ``0.0.0.0`` for all of them.
        publish_port: of the streams.
        request_port: of the requests.
        topics: what of the streams leaves the machine, by prefix. Spectra are no default: they stay on the machine.
    """

    listen: str
    publish_port: int = PUBLISH_PORT
    request_port: int = REQUEST_PORT
    topics: tuple[str, ...] = TOPICS


def read_remote(reader: Reader | None) -> RemoteSettings | None:
    """From the table, None without one; problems are noted at the reader."""
    if reader is None:
        return None
    settings = RemoteSettings(
        listen=reader.text("listen"),
        publish_port=reader.integer("publish_port", PUBLISH_PORT, 1, 65_535),
        request_port=reader.integer("request_port", REQUEST_PORT, 1, 65_535),
        topics=tuple(str(one) for one in reader.sequence("topics") or TOPICS),
    )
    try:
        ipaddress.IPv4Address(settings.listen)
    except ValueError:
        reader.problem("listen", f"{settings.listen!r} is no IPv4 address of this machine such as 10.1.0.5")
    if settings.publish_port == settings.request_port:
        reader.problem("request_port", "is the publish_port already")
    for topic in settings.topics:
        if not topic or len(topic) > 64 or not topic.isprintable():
            reader.problem("topics", f"{topic!r} is no topic")
    reader.finish()
    return settings
