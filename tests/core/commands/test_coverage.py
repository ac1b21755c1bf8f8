"""What leases cover, in shared memory."""

from pathlib import Path

from gwanje.core.commands.coverage import BARRED, LeaseCoverage


def test_drivers_see_what_the_core_says_and_nothing_else(tmp_path: Path) -> None:
    driver = LeaseCoverage(tmp_path, 2048)
    core = LeaseCoverage(tmp_path, 2048)
    assert driver.until_mono_ns(7) == BARRED, "before the core has spoken nothing may be written"
    core.show_gate(False)
    assert driver.until_mono_ns(7) == 0
    core.replace({7: 10**18, 2047: 5, 9: BARRED})
    assert [driver.until_mono_ns(one) for one in (7, 2047, 9, 8)] == [10**18, 5, BARRED, 0]
    core.replace({2047: 6})
    assert [driver.until_mono_ns(one) for one in (7, 2047, 9)] == [0, 6, 0]


def test_a_restarted_core_takes_away_what_it_does_not_know(tmp_path: Path) -> None:
    first = LeaseCoverage(tmp_path, 1024)
    first.show_gate(False)
    first.replace({1: 99, 2: 99})
    again = LeaseCoverage(tmp_path, 1024)
    again.replace({2: 100})
    assert [LeaseCoverage(tmp_path, 1024).until_mono_ns(one) for one in (1, 2)] == [0, 100]


def test_behind_a_closed_gate_every_point_is_barred(tmp_path: Path) -> None:
    core, driver = LeaseCoverage(tmp_path, 16), LeaseCoverage(tmp_path, 16)
    core.show_gate(False)
    core.replace({3: 10**18})
    core.show_gate(True)
    assert {driver.until_mono_ns(one) for one in range(16)} == {BARRED}
    assert driver.gate_closed
    core.show_gate(False)
    assert [driver.until_mono_ns(one) for one in (3, 4)] == [10**18, 0]
