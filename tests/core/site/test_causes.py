"""One mistake in a whole site: its cause is named first, with file, line, key and device, and little follows."""

import shutil
from pathlib import Path

import pytest

from gwanje.core.site.causes import HINTS_MAX, Stages
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors, Document, Problem

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"


@pytest.fixture
def mistaken(tmp_path):
    """Loads the default site with one text replaced by another; the lines that tell what is wrong."""

    def load(file: str, old: str, new: str) -> list[str]:
        root = tmp_path / "s"
        shutil.copytree(SITE, root, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
        text = (root / file).read_text(encoding="utf-8")
        assert old in text, f"{old!r} stands no more in {file}"
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ConfigErrors) as caught:
            load_site(root)
        return str(caught.value).splitlines()

    return load


@pytest.mark.parametrize(("file", "old", "new", "first", "most"), [
    # What was renamed is named before what asks for it, and every line says where it went.
    ("tags/energy.toml", 'name = "jincheon.ess1.soc"', 'name = "jincheon.ess1.sok"',
     ["s/tags/energy.toml:", "tag.name", "no device point feeds tag 'jincheon.ess1.sok'"], 4),
    # A device's area: all that is wrong lies in other files, and each leads back to the device.
    ("devices/energy.toml", 'name = "ess1"\narea = "jincheon"', 'name = "ess1"\narea = "jinchoen"',
     ["s/topology.toml:", "node.place", "there is 'jinchoen.ess1' of device 'ess1', s/devices/energy.toml:"], 4),
    # An unknown driver makes every other key strange: one line, not fourteen.
    ("devices/energy.toml", 'driver = "sunspec"', 'driver = "sunspek"',
     ["s/devices/energy.toml:", "device.driver", "'sunspek' is none of", "(device '"], 1),
    ("profiles/heat_pump.toml", 'driver = "bacnet"', 'driver = "backnet"',
     ["s/profiles/heat_pump.toml:", "profile.driver", "'backnet' is none of"], 1),
    # A quantity of a profile that only a pattern names.
    ("profiles/heat_pump.toml", 'quantity = "enable_command"', 'quantity = "enable_comand"',
     ["s/operations/heat.toml:", "operation.points", "enable_comand' of device 'heatpump1'", "profile 'heat_pump'"], 2),
    # Who is behind whom.
    ("devices/street.toml", 'via = "lamp_gateway1"', 'via = "lamp_gatewy1"',
     ["s/devices/street.toml:", "fleet.via", "no device 'lamp_gatewy1'", "there is 'lamp_gateway1'"], 1),
    # A number of one device.
    ("devices/energy.toml", "port = ", "port = 1e9 # ",
     ["s/devices/energy.toml:", "device.port", "must be a whole number", "(device '"], 1),
])  # fmt: skip
def test_one_mistake_is_told_by_its_cause_first(mistaken, file, old, new, first, most):
    lines = mistaken(file, old, new)
    assert all(words in lines[0] for words in first), "\n".join(lines)
    assert len(lines) <= most, "\n".join(lines)


def test_causes_stand_before_what_follows_from_them_whatever_the_files_are_called():
    follows, cause = Problem("a.toml", 1, "k", "missing tag 'x'", rank=3), Problem("z.toml", 9, "k", "is none", rank=0)
    assert ConfigErrors([follows, cause]).problems == [cause, follows]


def test_each_stage_has_what_was_noted_in_it_also_in_files_of_an_earlier_one():
    one, two = (Document(f"s/{name}.toml", {}, {(): 1}) for name in "ab")
    documents = {"a": one}
    stages = Stages(documents)
    one.problem(("k",), "first")
    stages.end()
    documents["b"] = two
    two.problem(("k",), "second")
    one.problem(("k",), "second too")
    stages.end()
    one.problem(("k",), "third")
    stages.end()
    assert [(problem.reason, problem.rank) for problem in (*one.problems, *two.problems)] == [
        ("first", 0), ("second too", 1), ("third", 2), ("second", 1),
    ]  # fmt: skip


def test_a_thousand_names_that_are_not_there_cost_fifty_comparisons(mistaken, monkeypatch):
    asked = []
    monkeypatch.setattr("gwanje.core.site.causes.get_close_matches", lambda *given: asked.append(given) or ["x"])
    wrong = "".join(f'[[operation]]\npoints = ["no.such{n}.thing_w"]\n' for n in range(200))
    lines = mistaken("operations/heat.toml", "[[operation]]", f"{wrong}[[operation]]")
    assert len(lines) == 200
    assert len(asked) == HINTS_MAX
