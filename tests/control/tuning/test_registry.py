"""The registry: every parameter of control with its facts, found by full name or last words."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from gwanje.control.microgrid.files.fields import number
from gwanje.control.microgrid.params import parse
from gwanje.control.tuning.registry import (
    Registry,
    Section,
    UnknownParameterError,
    problems_of,
    sections_of,
    with_values,
)
from gwanje.core.site.config import load_site

CHUNGBUK = Path(__file__).parents[3] / "configs" / "chungbuk"


@pytest.fixture(scope="module")
def config():
    return parse(tomllib.loads((CHUNGBUK / "control.toml").read_text(encoding="utf-8")))


def test_every_parameter_says_what_it_is_in_both_languages(config):
    registry = list(Registry(sections_of(config)))
    assert len(registry) >= 44
    for one in registry:
        assert one.ko, one.name
        assert one.en, one.name
        assert one.owner, one.name
        assert one.low <= one.value <= one.high, one.name
        assert one.unit or not one.name.endswith(("_s", "_w", "_wh", "_ms", "_w_max", "_per_s")), one.name


def test_names_are_found_by_their_last_words(config):
    registry = Registry(sections_of(config))
    assert registry.find("ki_per_s").name == "tie_line.ki_per_s"
    assert registry.find("ess1.energy_wh").value == 1e6
    with pytest.raises(UnknownParameterError, match=r"several: battery.ess1.energy_wh, battery.ess2.energy_wh"):
        registry.find("energy_wh")
    with pytest.raises(UnknownParameterError, match=r"near: tie_line.ki_per_s"):
        registry.find("ki_pr_s")
    assert [one.name for one in registry.match("follow_*")] == [
        "tie_line.follow_tolerance", "tie_line.follow_window", "tie_line.follow_release", "tie_line.follow_s",
    ]  # fmt: skip


def test_any_dataclass_of_numbers_is_a_section():
    @dataclass(frozen=True)
    class Island:
        droop: float = number(0.05, 0.0, 0.2, "", "드룹", "droop", "engineer")
        label: str = ""

    (one,) = Registry([Section("island", Island())])
    assert (one.name, one.default, one.owner) == ("island.droop", 0.05, "engineer")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"ki_per_s": 30.0}, "tie_line.ki_per_s: 30 is not within 0…20 1/s"),
        ({"ki_per_s": float("nan")}, "tie_line.ki_per_s: nan is not a number"),
        ({"period_ms": 5.0}, "restart"),
        ({"soc_min": 0.9, "soc_max": 0.8}, "tie_line.soc_min: not below soc_max"),
        ({"import_hold_s": 2.0}, "tie_line.import_hold_s: not below import_fail_s"),
        ({"path_delay_s": 1.0, "nothing": 1.0}, "no parameter 'nothing'"),
    ],
)
def test_what_cannot_be_is_told(config, wanted, reason):
    assert reason in "; ".join(problems_of(config, wanted))


def test_other_values_make_another_configuration(config):
    other = with_values(config, {"tie_line.kp": 0.2, "setpoint.tau_s": 600.0, "battery.ess2.energy_wh": 9e5})
    assert (other.tie_line.kp, other.setpoint.tau_s, other.battery[1].energy_wh) == (0.2, 600.0, 9e5)
    assert other.battery[0] == config.battery[0]
    assert other.kernel_params(2.5e6).kp == 0.2


def test_the_points_of_tuning_are_engineers(config):
    site = load_site(CHUNGBUK)
    for point in ("control.tuning.change_set", "control.tuning.kept"):
        operation = site.operations.get(point)
        assert (str(operation.min_role), operation.programs) == ("engineer", False)
