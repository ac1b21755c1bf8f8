"""``gwanje scenario`` with a real city: a bad day that passes, and one whose expectation is wrong and fails."""

import json
import subprocess
import sys

import pytest

WRONG = """\
[scenario]
ko = "틀린 기대"
en = "a wrong expectation"
families = ["energy", "estimation", "microgrid", "microgrid_control", "units"]
length_s = 12
rounds = 1

[[rule]]
drivers = ["registers"]
kinds = ["dead/refuse"]
devices = "ami*"
expect = "good"
within_s = 1
hold_s = 2

[[rule]]
skip = "not now"
"""


def scenario(site, *arguments):
    command = [sys.executable, "-m", "gwanje.core.cli.main", "scenario", *arguments, "--site", str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=220)


@pytest.mark.timeout(240)
def test_a_bad_field_in_short_passes(site_with):
    run = scenario(site_with("units"), "bad-field-short", "--json")
    assert run.stdout, run.stderr
    said = json.loads(run.stdout)
    failed = [one for one in said["faults"] if not one["passed"]]
    assert run.returncode == 0, (said["failures"], failed, said["outages"])
    assert (said["scenario"], said["seed"], said["passed"]) == ("bad-field-short", 1, True)
    numbers = said["metrics"]
    assert numbers["faults"] >= 8
    assert (numbers["faults_failed"], numbers["others_missed"], numbers["outages_failed"]) == (0, 0, 0)
    assert {"sunspec", "registers", "microphone"} <= set(numbers["kinds"])
    control, field = said["outages"]
    assert (control["part"], field["part"]) == ("control", "field")
    assert control["failsafe_s"] < 8
    assert 1 < field["failsafe_s"] < 10  # the operator's set-point stood until the device's own timer ran out


def test_what_is_not_as_expected_fails_and_says_why(site_copy):
    (site_copy / "scenarios" / "wrong.toml").write_text(WRONG, encoding="utf-8")
    run = scenario(site_copy, "wrong")
    assert run.returncode == 1, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "wrong: a wrong expectation · 틀린 기대 (seed 1)"
    (failed,) = [one for one in lines if one.startswith("FAILED   ")]
    assert "registers dead/refuse on ami" in failed
    assert "must stay GOOD" in failed
    assert lines[-1].startswith("FAILED: 1 faults (1 failed)")


def test_scenarios_are_listed_and_an_unknown_one_is_refused(site_copy):
    listed = scenario(site_copy)
    assert listed.returncode == 0
    assert "bad-field-short" in listed.stdout
    refused = scenario(site_copy, "no-such")
    assert refused.returncode == 2
    assert refused.stderr.startswith("gwanje: no scenario 'no-such' in ")


@pytest.mark.timeout(240)
def test_glass_at_a_crossing_is_one_incident_in_its_place_and_the_city_answers(site_with):
    site = site_with("crossing", "cameras", "street", "sensors", "units")
    script = site / "scenarios" / "glass-at-crossing.toml"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("camera_within_s = 1.2", "camera_within_s = 11"), encoding="utf-8")
    run = scenario(site, "glass-at-crossing", "--json")
    assert run.stdout, run.stderr
    said = json.loads(run.stdout)
    assert (run.returncode, said["passed"]) == (0, True), said
    (glass,) = said["sounds"]
    assert (glass["incidents"], len(glass["alarms"])) == (1, 1)
    assert glass["off_m"] < 2.0
    assert glass["lamps"] >= 3
