"""Times as people on a site read and type them: in the site's time zone, with the zone named. Programs get UTC."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.config import DEFAULT_TIMEZONE


class SiteTime:
    """The clock of one site.

    Args:
        zone: name of the site's time zone, such as ``Asia/Seoul``.

    Raises:
        ZoneInfoNotFoundError: the machine does not know it.
    """

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)

    @classmethod
    def of(cls, root: Path) -> SiteTime:
        """Of a site's folder, without reading the rest of it; UTC where no site says another, and that is named too."""
        try:
            with open(root / "site.toml", "rb") as file:
                head = tomllib.load(file).get("site", {})
            return cls(str(head.get("timezone", DEFAULT_TIMEZONE)))
        except (OSError, ValueError, AttributeError, ZoneInfoNotFoundError):
            return cls("UTC")

    def moment(self, utc_ns: int) -> datetime:
        """A time with the site's zone, to the second."""
        return datetime.fromtimestamp(utc_ns // NS_PER_S, self._zone)

    def second(self, utc_ns: int) -> str:
        """Such as ``2026-11-21 08:13:54 KST``."""
        return self._text(utc_ns, "%Y-%m-%d %H:%M:%S %Z")

    def minute(self, utc_ns: int) -> str:
        """Such as ``2026-11-21 08:13 KST``."""
        return self._text(utc_ns, "%Y-%m-%d %H:%M %Z")

    def milli(self, utc_ns: int) -> str:
        """Such as ``2026-11-21 08:13:54.123 KST``."""
        return self._text(utc_ns, f"%Y-%m-%d %H:%M:%S.{utc_ns % NS_PER_S // 1_000_000:03d} %Z")

    def _text(self, utc_ns: int, form: str) -> str:
        try:
            return self.moment(utc_ns).strftime(form)
        except (ValueError, OverflowError, OSError):  # of a year that no calendar has: a journal may be forged
            return f"{utc_ns} ns"

    def utc_ns(self, moment: datetime) -> int:
        """A time that a person typed; without a zone it is the site's."""
        aware = moment if moment.tzinfo else moment.replace(tzinfo=self._zone)
        since = aware.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000
