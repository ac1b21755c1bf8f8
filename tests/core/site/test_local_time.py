"""The site's clock: what people read and type, with the zone always named."""

from datetime import datetime

import pytest

from gwanje.core.site.local_time import SiteTime

NEW_YEAR = 1_767_225_600_000_000_000


@pytest.mark.parametrize(("zone", "second", "minute", "milli"), [
    ("Asia/Seoul", "2026-01-01 09:00:00 KST", "2026-01-01 09:00 KST", "2026-01-01 09:00:00.007 KST"),
    ("UTC", "2026-01-01 00:00:00 UTC", "2026-01-01 00:00 UTC", "2026-01-01 00:00:00.007 UTC"),
    ("America/Sao_Paulo", "2025-12-31 21:00:00 -03", "2025-12-31 21:00 -03", "2025-12-31 21:00:00.007 -03"),
])  # fmt: skip
def test_times_are_the_sites_and_name_its_zone(zone, second, minute, milli):
    time = SiteTime(zone)
    assert (time.second(NEW_YEAR), time.minute(NEW_YEAR), time.milli(NEW_YEAR + 7_999_999)) == (second, minute, milli)


def test_an_hour_that_comes_twice_is_told_apart_by_its_zone():
    time = SiteTime("Europe/Berlin")
    ends = 1_792_890_000 * 10**9  # 25 October 2026, 01:00 UTC: summer time ends
    assert time.second(ends - 1) == "2026-10-25 02:59:59 CEST"
    assert time.second(ends) == "2026-10-25 02:00:00 CET"


def test_what_people_type_is_the_sites_time_unless_it_says_another():
    time = SiteTime("Asia/Seoul")
    assert time.utc_ns(datetime.fromisoformat("2026-01-01T09:00:00.007")) == NEW_YEAR + 7_000_000
    assert time.utc_ns(datetime.fromisoformat("2026-01-01T00:00:00+00:00")) == NEW_YEAR
    assert time.utc_ns(datetime.fromisoformat("1969-12-31T23:59:59.999999+00:00")) == -1_000


@pytest.mark.parametrize("utc_ns", [10**30, -(10**30), 2**63])
def test_a_time_that_no_calendar_has_is_a_number(utc_ns):
    time = SiteTime("Asia/Seoul")
    text = time.milli(utc_ns)
    assert text == f"{utc_ns} ns" or "KST" in text


@pytest.mark.parametrize(("content", "zone"), [
    ('[site]\ntimezone = "Europe/Berlin"\n', "CET"), ("[site]\n", "KST"), ("", "KST"), (None, "UTC"),
    ("[site\n", "UTC"), ('[site]\ntimezone = "Nowhere/At_All"\n', "UTC"), ("site = 3\n", "UTC"),
    ("[site]\ntimezone = '/etc/passwd'\n", "UTC"),
])  # fmt: skip
def test_a_sites_zone_is_found_without_the_rest_of_it(tmp_path, content, zone):
    if content is not None:
        (tmp_path / "site.toml").write_text(content)
    assert SiteTime.of(tmp_path).second(NEW_YEAR).endswith(f" {zone}")
