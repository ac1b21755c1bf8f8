"""Folders of runs: the newest few stay, and never the present one goes, whatever the wall clock says."""

from pathlib import Path

import pytest

from gwanje.core.city.run_dir import KEEP_RUNS, new_data_dir

S = 1_000_000_000
NOW = 1_767_225_600 * S


def test_the_newest_runs_stay(tmp_path: Path) -> None:
    made = [new_data_dir(tmp_path, "site", True, NOW + number * S) for number in range(KEEP_RUNS + 3)]
    assert sorted((tmp_path / "site").glob("run-*")) == made[-KEEP_RUNS:]


@pytest.mark.parametrize("step_s", [-3_600, -365 * 86_400, 3_600, 365 * 86_400])
def test_a_run_under_a_clock_that_was_set_is_not_taken_for_an_old_one(tmp_path: Path, step_s: int) -> None:
    for number in range(KEEP_RUNS):
        new_data_dir(tmp_path, "site", True, NOW + number * S)
    present = new_data_dir(tmp_path, "site", True, NOW + step_s * S)
    assert (present / "state").is_dir()
    assert (tmp_path / "site" / "latest").resolve() == present
    assert len(list((tmp_path / "site").glob("run-*"))) == KEEP_RUNS
