"""Health of devices and families: told when it changes or would grow stale, and never a number nobody measured."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.devices import FAMILY_QUANTITIES, Device, Twin, family_tags, health_tags
from gwanje.core.tags.quality import Quality, is_bad
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.health import REFRESHES, WINDOW_S, Health, HealthTable, Meter, State

PLAIN = Device(
    "lamp1", "east", "가로등", "Streetlight", "talq", "", 0, 0, "slow", 1.0, (), (), None, "t/devices/x.toml",
    profile="lamp",
)  # fmt: skip


@dataclass
class Driver:
    device: Device
    health: Health = field(default_factory=Health)


class World:
    """Two lamps, one with full health and one simulated with its link alone."""

    def __init__(self) -> None:
        small = replace(PLAIN, name="lamp2", health="online", twin=Twin("lamp", {}))
        self.full, self.small = Driver(PLAIN), Driver(small)
        tags = [Tag("east.other.x", "", "street"), *health_tags(PLAIN), *health_tags(small), *family_tags("street")]
        self.tags = TagTable.build(tags)
        self.meter = Meter()
        self.table = HealthTable("street", [self.small, self.full], self.tags, self.meter)
        self.quality: dict[str, int] = {}

    def due(self, at_s: float) -> dict[str, float]:
        """Health of devices that is due, by name; the family's own tags are always."""
        ids, values, quality = self.table.due(round((1000 + at_s) * NS_PER_S))
        assert (np.diff(ids) > 0).all()
        assert (values.dtype, quality.dtype) == (np.float64, np.uint16)
        names = [self.tags.by_id(int(one)).name for one in ids]
        self.quality = dict(zip(names, quality.tolist(), strict=True))
        found = dict(zip(names, values.tolist(), strict=True))
        self.family = {one: found.pop(f"system.family_street.{one}") for one in FAMILY_QUANTITIES}
        return found


@pytest.fixture
def world():
    return World()


def test_at_first_everything_is_told(world):
    assert world.due(0) == {
        "east.lamp1.online": 0.0, "east.lamp1.scan_ms": 0.0, "east.lamp1.errors": 0.0, "east.lamp2.online": 0.0,
    }  # fmt: skip
    assert world.quality["east.lamp2.online"] == Quality.SIMULATED
    assert world.quality["east.lamp1.online"] == 0


def test_then_only_what_changes_by_more_than_its_deadband(world):
    world.due(0)
    assert world.due(1) == {}
    world.full.health.state = State.ONLINE
    world.full.health.round_trip_ns = 500_000  # the deadband of scan_ms is 1 ms
    assert world.due(2) == {"east.lamp1.online": 1.0}
    world.full.health.round_trip_ns = 3_000_000
    world.full.health.errors = 1
    assert world.due(3) == {"east.lamp1.scan_ms": 3.0, "east.lamp1.errors": 1.0}


def test_what_does_not_change_is_refreshed_before_it_is_stale(world):
    stale_s = world.tags.get("east.lamp1.online").stale_after_s
    world.due(0)
    told = [second for second in range(1, int(stale_s) + 1) if world.due(second)]
    assert told == [int(stale_s / REFRESHES * turn) for turn in range(1, REFRESHES + 1)]


def test_a_degraded_device_is_online_and_one_in_backoff_is_not(world):
    states = {state: Health(state).online for state in State}
    assert [state for state, online in states.items() if online] == [State.ONLINE, State.DEGRADED]


def test_the_family_is_the_sum_of_its_devices(world):
    world.due(0)
    world.small.health.state = State.ONLINE
    for one in (world.small, world.full):
        one.health.reads, one.health.errors, one.health.skipped = 30, 2, 3
    world.meter.scanned(2_000_000)
    world.due(2)
    late = world.family.pop("late_p99_ms")
    assert world.family == {"devices": 2.0, "online": 1.0, "reads_per_s": 30.0, "errors": 4.0, "skipped": 6.0}
    assert 2.0 <= late <= 2.3


def test_a_rate_and_a_lateness_that_nobody_has_measured_are_no_numbers(world):
    world.due(0)
    assert math.isnan(world.family["reads_per_s"])
    assert math.isnan(world.family["late_p99_ms"])
    for quantity in ("reads_per_s", "late_p99_ms"):
        assert is_bad(world.quality[f"system.family_street.{quantity}"])
    assert world.quality["system.family_street.devices"] == 0
    world.due(1)
    assert world.family["reads_per_s"] == 0.0
    assert world.quality["system.family_street.reads_per_s"] == 0


def test_lateness_is_of_the_last_seconds(world):
    world.due(0)
    world.meter.scanned(50_000_000)
    world.due(1)
    assert world.family["late_p99_ms"] >= 50.0
    for _ in range(3):
        world.meter.scanned(1_000_000)
    world.due(1 + WINDOW_S)
    world.due(1 + 2 * WINDOW_S)
    assert math.isnan(world.family["late_p99_ms"])


def test_the_meter_takes_what_came_early_as_not_late():
    meter = Meter()
    assert math.isnan(meter.late_p99_ms())
    meter.scanned(-5)
    assert 0.0 <= meter.late_p99_ms() <= 0.002


def test_the_meter_tells_the_fuller_of_two_windows():
    meter = Meter()
    for _ in range(100):
        meter.scanned(10_000_000)
    meter.turn()
    meter.scanned(1_000)
    assert meter.late_p99_ms() >= 10.0
    meter.turn()
    assert meter.late_p99_ms() < 1.0


def test_a_family_of_thousands_costs_little_and_tells_all():
    devices = [Driver(replace(PLAIN, name=f"lamp{n:04}", health="online")) for n in range(3000)]
    tags = TagTable.build([tag for one in devices for tag in health_tags(one.device)] + family_tags("street"))
    table = HealthTable("street", devices, tags, Meter())
    assert len(table.due(NS_PER_S)[0]) == 3000 + len(FAMILY_QUANTITIES)
    devices[77].health.state = State.ONLINE
    ids, values, _ = table.due(2 * NS_PER_S)
    changed = {tags.by_id(int(one)).name: value for one, value in zip(ids, values, strict=True)}
    assert changed["east.lamp0077.online"] == 1.0
    assert changed["system.family_street.online"] == 1.0
    assert len(ids) == 1 + len(FAMILY_QUANTITIES)
