"""A script: read, carried out beside others, told."""

import json
from pathlib import Path

import pytest

from gwanje.core.cli.main import main
from gwanje.core.closed_loop.comparison import carry_out
from gwanje.core.closed_loop.report import lines, to_message
from gwanje.core.closed_loop.runner import LoopError
from gwanje.core.closed_loop.script import load_loop, loop_names
from gwanje.core.scenario.script import names_of
from gwanje.core.site.toml_reader import ConfigErrors

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
SCRIPT = """
[scenario]
ko = "탱크"
en = "tank"
length_s = 4

[loop]
plant = "closed_loop_fakes:open_plant"
controller = "closed_loop_fakes:open_controller"
money = "closed_loop_fakes:price"
record_s = 0.05
fine = [[1.0, 1.2]]
plant_options = {level = 1.0}
beside = {none = "closed_loop_fakes:open_nobody"}

[trials]
run = "closed_loop_fakes:trials"
count = 12
options = {bad = 0}

[[way]]
direction = "up"
delay_s = 0.02

[[event]]
at_s = 1.0
disturb = "draw"
values = {w = 2.0}

[[event]]
at_s = 2.0
ask = "nonsense"

[[event]]
at_s = 3.0
way = "up"
tags = "tank.*"
values = {loss = 0.5}

[[measure]]
name = "level_final_w"
of = "final"
signal = "level_w"

[[pass]]
metric = "level_final_w"
at_least = -0.3
at_most = 0.3

[[pass]]
metric = "trials_bad"
at_most = 0
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "tank.toml").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


def rewritten(site, old, new):
    path = site / "scenarios" / "tank.toml"
    path.write_text(SCRIPT.replace(old, new), encoding="utf-8")
    return site


def test_a_script_is_carried_out_beside_others(site):
    script = load_loop(site, "tank")
    outcome = carry_out(script, site, 3)
    assert outcome.passed
    assert outcome.metrics["trials"] == 12
    assert abs(outcome.metrics["level_final_w"]) < 0.3
    assert outcome.beside["none"]["level_final_w"] == pytest.approx(1.0 - 2.0 * 3.0, abs=0.2)
    assert outcome.metrics["money_krw"] == outcome.beside["none"]["money_krw"]
    message = json.loads(json.dumps(to_message(script, outcome, 3)))
    assert (message["scenario"], message["seed"], message["passed"]) == ("tank", 3, True)
    assert message["metrics"]["none"]["level_final_w"] == pytest.approx(-5.0, abs=0.2)
    text = "\n".join(lines(outcome))
    assert "level_final_w" in text
    assert "knows no nonsense" in text


def test_repeats_run_with_one_seed_after_another(site):
    script = load_loop(rewritten(site, "record_s = 0.05", "record_s = 0.05\nrepeats = 3"), "tank")
    outcome = carry_out(script, site, 3)
    assert len(outcome.records) == 3
    finals = [one.series["level_w"][-1] for one in outcome.records]
    assert outcome.metrics["level_final_w"] == max(finals)


def test_the_command_prints_tables_and_json_and_fails_when_a_criterion_does(site, capsys):
    assert main(["scenario", "tank", "--site", str(site), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    assert main(["scenario", "--site", str(site)]) == 0
    assert "tank" in capsys.readouterr().out
    rewritten(site, "at_least = -0.3", "at_least = 0.2999")
    assert main(["scenario", "tank", "--site", str(site)]) == 1
    assert "FAILED: tank" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('of = "final"', 'of = "finest"', "none of"),
        ("at_s = 1.0\n", "", "at_s"),
        ('disturb = "draw"', 'disturb = "draw"\nask = "x"', "needs one of"),
        ("{loss = 0.5}", "{lost = 0.5}", "a way has no lost"),
        ('direction = "up"', 'direction = "sideways"', "none of"),
        ("delay_s = 0.02", "delay_s = -0.02", "not negative"),
        ("fine = [[1.0, 1.2]]", "fine = [[1.2, 1.0]]", "is not [from, until]"),
        ("closed_loop_fakes:open_plant", "closed_loop_fakes", "module:function"),
        ("at_least = -0.3\nat_most = 0.3", "", "needs at_least or at_most"),
        ("record_s = 0.05", "record_s = 0.05\ncolour = 1", "unknown key"),
    ],
)
def test_wrong_scripts_say_where(site, old, new, reason):
    assert old in SCRIPT
    with pytest.raises(ConfigErrors) as caught:
        load_loop(rewritten(site, old, new), "tank")
    assert reason in str(caught.value)


def test_modules_that_are_missing_are_one_line(site, capsys):
    script = load_loop(rewritten(site, "closed_loop_fakes:open_plant", "closed_loop_fakes:nothing"), "tank")
    with pytest.raises(LoopError, match="nothing"):
        carry_out(script, site, 1)
    assert main(["scenario", "tank", "--site", str(site)]) == 2
    assert "nothing" in capsys.readouterr().err


def test_the_sites_scripts_can_be_read_and_are_not_those_of_faults():
    names = loop_names(SITE)
    for name in names:
        script = load_loop(SITE, name)
        assert script.criteria
        assert script.beside.keys() == {"none", "dead_beat"}
    assert not set(names) & set(names_of(SITE))


def test_repeats_begin_at_starts_of_their_own_one_seed_after_another(site):
    rewritten(site, "record_s = 0.05", "record_s = 0.05\nrepeats = 2\nstarts_s = [100, 200, 300]")
    script = load_loop(site, "tank")
    assert [[script.run_of(seed, k).start_s for k in (0, 1)] for seed in (1, 2)] == [[100.0, 200.0], [300.0, 100.0]]
    assert script.run_of(2, 0).controller_options["clock_offset_s"] == 300.0
    assert to_message(script, carry_out(script, site, 2), 2)["starts_s"] == [300.0, 100.0]


def test_a_start_must_be_a_second_of_a_day(site):
    rewritten(site, "record_s = 0.05", 'record_s = 0.05\nstarts_s = [1, -2, true, "x"]')
    with pytest.raises(ConfigErrors) as caught:
        load_loop(site, "tank")
    assert [text in str(caught.value) for text in ("-2 is no second", "True is no", "'x' is no")] == [True] * 3
