from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from gwanje.historian import config
from gwanje.historian.config import HistorianConfig, InfluxConfig

SITE = Path(__file__).parents[2] / "configs" / "chungbuk"


def test_the_site_s_file_says_the_defaults() -> None:
    raw = tomllib.loads((SITE / "historian.toml").read_text(encoding="utf-8"))
    assert HistorianConfig.parse(raw) == HistorianConfig() == HistorianConfig.parse({})
    assert set(raw["influx"]) == set(InfluxConfig.__dataclass_fields__)
    assert set(raw) == set(HistorianConfig.__dataclass_fields__)


def test_everything_wrong_is_told_at_once() -> None:
    raw = {
        "commit_s": 5.0,
        "segment_mb": "8",
        "speed": 1,
        "pending_points_max": True,
        "influx": {"url": "http://example.org", "dialect": "graphite", "batch_points": 0, "measurement": "a b"},
    }
    with pytest.raises(ValueError, match="commit_s") as caught:
        HistorianConfig.parse(raw)
    keys = sorted(line.partition(":")[0] for line in str(caught.value).splitlines())
    assert keys == [
        "commit_s", "influx.batch_points", "influx.dialect", "influx.measurement", "influx.url",
        "pending_points_max", "segment_mb", "speed",
    ]  # fmt: skip
    found = config.problems(SimpleNamespace(historian=raw))  # type: ignore[arg-type]
    assert ("historian.toml", ("influx", "dialect"), "'graphite' is none of influxdb2, victoriametrics") in found
    assert len(found) == 8


def test_the_forwarder_s_table_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"^influx: must be a table$"):
        HistorianConfig.parse({"influx": 3})


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8428", "http://localhost:8086", "http://[::1]:8086", "https://influx.example.org/base"],
)
def test_addresses_that_keep_the_token_safe_are_taken(url: str) -> None:
    assert config.url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.7:8086", "https://"),
        ("http://localhost.example.org", "https://"),
        ("http://127.0.0.1.example.org", "https://"),
        ("ftp://127.0.0.1", "no http"),
        ("127.0.0.1:8086", "no http"),
        ("https://", "no http"),
        ("https://me:secret@example.org", "token_file"),
        ("http://127.0.0.1:port", "port"),
        ("http://[::1", "IPv6"),
    ],
)
def test_other_addresses_are_refused(url: str, reason: str) -> None:
    assert reason.lower() in (config.url_problem(url) or "").lower()
