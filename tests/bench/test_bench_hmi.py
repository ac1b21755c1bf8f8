"""What the screen costs. Offscreen raster, one core, 1920×1080; run by ``make bench``."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from gwanje.hmi.model.curves import DayCurves
from gwanje.hmi.store import Snapshot

pytestmark = pytest.mark.bench
FAKE = Path(__file__).resolve().parents[1] / "hmi" / "fake_city.py"


@pytest.fixture(scope="module")
def screen():
    both = (("gwanje_tests_hmi_fake_core", FAKE.with_name("fake_core.py")), ("gwanje_bench_fake_city", FAKE))
    for name, path in both:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    built = module.build()
    built.turn(300, spectra=False)
    built.turn(60)
    yield built
    built.view.close()


def test_whole_screen_for_a_tenth_of_a_second(benchmark, screen):
    """Budget 25 ms of processor time per 100 ms with every value changing: a quarter of a core."""
    from PySide6.QtWidgets import QApplication

    def feed():
        screen.city.send_scan()
        screen.city.send_spectra(3)
        screen.link.turn(screen.city.receiver)
        return (), {}

    def frames():
        for _ in range(3):
            screen.city.advance(33_400_000)
            screen.frames.tick()
            QApplication.processEvents()

    benchmark.pedantic(frames, setup=feed, rounds=100, warmup_rounds=5)
    assert screen.frames.schedule.frame > 0


def test_spectrogram_column(benchmark, screen):
    """Budget 2.5 ms per column: 25 of them come in a second."""
    panel = screen.view.acoustic
    picture = panel.grab()

    def column():
        screen.live.spectra.rings[screen.live.site.nodes[panel.node].name].put(
            np.full((1, 64), 90, np.uint8), screen.city.clock.mono_ns(), 40_000_000
        )
        panel.render(picture, sourceRegion=panel._spectrum.rect)

    benchmark(column)


def test_chart_of_a_day(benchmark, screen):
    """Budget 25 ms, twice a second: four curves of pure noise over 24 hours."""
    balance, live = screen.view.balance, screen.view.balance.curves
    day = DayCurves(4)
    values = np.random.default_rng(1).normal(500, 200, (86_400, 4))
    for second in range(0, 86_400, 2):
        day.add(float(second), values[second])
    balance.curves = day
    picture = balance.grab()
    benchmark(lambda: balance.render(picture, sourceRegion=balance._plot_part.rect))
    balance.curves = live


def test_snapshot_write_and_read_of_10_000_tags(benchmark):
    """Budget 1 ms for a write and a read of 10 000 tags."""
    n = 10_000
    snapshot, ids = Snapshot(np.zeros(n, np.int64)), np.arange(n)
    value, quality, times = np.ones(n), np.zeros(n, np.uint16), np.zeros(n, np.int64)

    def turn():
        snapshot.write(ids, value, quality, times, 1)
        return snapshot.read(ids)

    assert len(benchmark(turn).value) == n
