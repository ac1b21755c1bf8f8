"""Settings of the historian, checked once: everything wrong with them is told together."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gwanje.core.site.config import Site

DIALECTS = ("influxdb2", "victoriametrics")
MEGABYTE = 1_048_576


@dataclass(frozen=True, slots=True)
class InfluxConfig:
    """The forwarder to an InfluxDB-like server.

    Attributes:
        enabled: off unless the site says otherwise.
        dialect: ``influxdb2`` or ``victoriametrics``; both take ``/api/v2/write``.
        url: ``https://…``, or ``http://`` on loopback.
        org: organisation (InfluxDB).
        bucket: where to write (InfluxDB).
        token_file: file that holds the token, readable by its owner only; empty for none.
        measurement: name the points go under.
        batch_points: points in one request.
        timeout_s: for one request.
        retry_s_max: longest pause between attempts.
        replay_s: after an outage of the server, what it acknowledged in this time before is sent again, because a
            server may acknowledge before its disk has the data. Idempotent in InfluxDB; VictoriaMetrics needs
            ``-dedup.minScrapeInterval=1ms``.
    """

    enabled: bool = False
    dialect: str = "influxdb2"
    url: str = "http://127.0.0.1:8086"
    org: str = "gwanje"
    bucket: str = "gwanje"
    token_file: str = ""
    measurement: str = "gwanje"
    batch_points: int = 5_000
    timeout_s: float = 10.0
    retry_s_max: float = 60.0
    replay_s: float = 60.0


@dataclass(frozen=True, slots=True)
class HistorianConfig:
    """How the recorder records.

    Attributes:
        commit_s: points wait at most this long for their group commit.
        segment_mb: a spool segment that has reached this is closed and sealed; sealing one takes about twenty times
            this in memory.
        seal_after_s: a segment this old is closed even if it is small.
        pending_points_max: points held in memory while the disk refuses; 22 bytes each, beyond them new ones are
        refused. disk_reserve_mb: the spool stops before the disk has less than this left.
        influx: the forwarder.
    """

    commit_s: float = 0.1
    segment_mb: int = 8
    seal_after_s: float = 900.0
    pending_points_max: int = 1_000_000
    disk_reserve_mb: int = 64
    influx: InfluxConfig = field(default_factory=InfluxConfig)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> HistorianConfig:
        """Read the site's table.

        Raises:
            ValueError: one line ``key: reason`` for everything that is wrong.
        """
        config, found = _read(raw)
        if found:
            raise ValueError("\n".join(f"{'.'.join(path)}: {reason}" for path, reason in found))
        return config


def problems(site: Site) -> list[tuple[str, tuple[str, ...], str]]:
    """What is wrong with a site's ``historian.toml``: (file, key path, reason) each."""
    return [("historian.toml", path, reason) for path, reason in _read(site.historian)[1]]


_RANGES: dict[str, tuple[float, float]] = {
    "commit_s": (0.01, 1.0),
    "segment_mb": (1, 64),
    "seal_after_s": (5.0, 86_400.0),
    "pending_points_max": (10_000, 50_000_000),
    "disk_reserve_mb": (0, 1_048_576),
}
_INFLUX_RANGES: dict[str, tuple[float, float]] = {
    "batch_points": (1, 100_000),
    "timeout_s": (0.1, 300.0),
    "retry_s_max": (0.1, 3_600.0),
    "replay_s": (0.0, 86_400.0),
}
_TYPES: dict[str, tuple[type[Any], ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}


def _read(raw: Mapping[str, Any]) -> tuple[HistorianConfig, list[tuple[tuple[str, ...], str]]]:
    """The settings, with what is wrong left at its default, and everything that is wrong."""
    found: list[tuple[tuple[str, ...], str]] = []
    table = dict(raw)
    nested = table.pop("influx", {})
    values = _checked(HistorianConfig, table, _RANGES, found)
    inner: list[tuple[tuple[str, ...], str]] = []
    influx: dict[str, Any] = {}
    if isinstance(nested, Mapping):
        influx = _checked(InfluxConfig, nested, _INFLUX_RANGES, inner)
        inner += _influx_problems(influx)
    else:
        found.append((("influx",), "must be a table"))
    found += [(("influx", *path), reason) for path, reason in inner]
    return HistorianConfig(**values, influx=InfluxConfig(**influx)), found


def _checked(
    cls: type[Any],
    raw: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
    found: list[tuple[tuple[str, ...], str]],
) -> dict[str, Any]:
    """Values of known keys, of the right type and range; everything else becomes a problem."""
    known = {one.name: str(one.type) for one in fields(cls) if str(one.type) in _TYPES}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            found.append(((key,), f"unknown key; known are {', '.join(sorted(known))}"))
            continue
        reason = _value_problem(known[key], value, ranges.get(key))
        if reason is not None:
            found.append(((key,), reason))
            continue
        values[key] = float(value) if known[key] == "float" else value
    return values


def _value_problem(kind: str, value: Any, bounds: tuple[float, float] | None) -> str | None:
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        return f"{value!r} is not {_WORDS[kind]}"
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        return f"{value!r} is not within {bounds[0]:g}…{bounds[1]:g}"
    return None


def _influx_problems(values: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    found: list[tuple[tuple[str, ...], str]] = []
    dialect = values.get("dialect", DIALECTS[0])
    if dialect not in DIALECTS:
        found.append((("dialect",), f"{dialect!r} is none of {', '.join(DIALECTS)}"))
    if "url" in values and (reason := url_problem(values["url"])):
        found.append((("url",), reason))
    measurement = values.get("measurement", "gwanje")
    if not measurement or any(sign in measurement for sign in ' ,=\\"\n'):
        found.append((("measurement",), f"{measurement!r} is empty or holds a sign of the line protocol"))
    return found


def url_problem(url: str) -> str | None:
    """Why points and token must not go to this address, or None when they may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        return f"{url!r}: {error}"
    if parts.username or parts.password:
        return "must not hold a password; use token_file"
    if parts.scheme not in ("http", "https") or not host:
        return f"{url!r} is no http:// or https:// address"
    if parts.scheme == "http" and not _is_loopback(host):
        return f"{url!r} is not on this machine, so it must be https://"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
