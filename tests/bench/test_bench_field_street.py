"""The street: what a report, a message and a whole town cost; `gwanje bench field` measures with mosquitto."""

import asyncio
import json

import pytest

from gwanje.core.bench import program
from gwanje.core.clock import SystemClock
from gwanje.io.field.bench import PARTS
from gwanje.io.field.mqtt.things import Things, make_thing
from gwanje.io.field.street import bench, bench_town
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.talq.schema import checker

pytestmark = pytest.mark.bench


def test_a_report_of_500_entries_becomes_samples(benchmark):
    """Budget: 20 ms (40 µs an entry); 8 ms on the machine it was written on."""

    async def prepared():
        reports = bench_town.Reports(125)
        return await reports.gateway(), reports.bodies()

    gateway, bodies = asyncio.run(prepared())
    assert sum(len(one["entries"]) for one in bodies) == 500
    benchmark(lambda: [gateway.reported(one) for one in bodies])
    assert gateway.points.refused == 0
    assert gateway.points.strange == 0
    assert gateway.health.reads >= 500


def test_the_schema_of_a_report(benchmark):
    """Budget: 12 ms for 500 entries; 6 ms on the machine it was written on."""
    (body, *_) = bench_town.Reports(125).bodies()
    check = checker("LogReport")
    assert benchmark(lambda: check(body)) == ""


def test_a_thousand_messages_of_lamps_become_samples(benchmark):
    """Budget: 30 ms (30 µs a message); 16 ms on the machine it was written on."""
    nodes = bench._nodes()
    tags = bench_town.tags_of(nodes)
    clock, nowhere = SystemClock(), bench_town._Counting()
    columns = Columns(tags, nowhere)
    made = [make_thing(one, columns, 0) for one in nodes]
    things = Things(made, columns, lambda: (clock.utc_ns(), clock.mono_ns()), None)
    content = {"t": clock.utc_ns() / 1e9, "dim_pct": 50, "power_w": 20.0, "energy_wh": 1000.0, "dark": 1}
    payloads = [json.dumps({**content, "power_w": 20.0 + n / 100}).encode() for n in range(1_000)]

    def turn():
        for n, payload in enumerate(payloads):
            things.take(f"lamps/n{n % 200}/state", payload, False)
        columns.flush(clock.mono_ns())

    benchmark(turn)
    assert things.refused == 0
    assert all(one.health.reads for one in things.things)


def test_a_small_town_is_dimmed_and_the_figures_have_goals():
    found = {one.name: one for one in bench_town.dimming(1, 40)}
    assert found.keys() == {"street.all_online", "street.zone_dim", "street.zone_followed"}
    assert all(one.goal and one.value > 0.0 for one in found.values())


@pytest.mark.skipif(program("mosquitto") is None, reason="peer absent: mosquitto is not installed")
def test_messages_through_mosquitto_are_all_taken_or_counted(monkeypatch):
    monkeypatch.setattr(bench, "N_MESSAGES", 2_000)
    rate, cpu = bench.mqtt(1, True)
    assert rate.value > 0.0
    assert rate.peer_value > 0.0
    assert "0 of 2000 dropped" in rate.note
    assert cpu.unit == "µs/msg"


def test_the_figures_of_the_street_are_registered():
    assert bench.__name__ in PARTS
