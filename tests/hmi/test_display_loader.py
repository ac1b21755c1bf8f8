"""The display file: the site's own is right, and each mistake is named with file, line, key and reason."""

import re

import pytest

from gwanje.core.site.toml_reader import Document
from gwanje.hmi.display.loader import DisplayErrors, load_display, problems


@pytest.fixture
def text(fake):
    return (fake.SITE / "displays" / "overview.toml").read_text(encoding="utf-8")


def load(tmp_path, site, text):
    path = tmp_path / "overview.toml"
    path.write_text(text, encoding="utf-8")
    return load_display(path, site.tags, site)


def wrong(tmp_path, site, text):
    with pytest.raises(DisplayErrors) as caught:
        load(tmp_path, site, text)
    return [str(one) for one in caught.value.problems]


def test_the_overview_of_the_site_is_right(fake, site):
    display = load_display(fake.SITE / "displays" / "overview.toml", site.tags, site)
    assert len(display.indicators) >= 10
    assert {one.bus for one in display.elements} == {"A", "B"}
    assert {curve.role for curve in display.curves} == {"load", "renewable", "tie", "storage"}
    assert problems(site) == []


def test_units_are_converted_by_themselves(fake, site):
    display = load_display(fake.SITE / "displays" / "overview.toml", site.tags, site)
    by_label = {one.label.en: one.value for one in display.indicators}
    assert by_label["Tie import"].factor == 1e-3
    assert by_label["ESS state of charge"].factor == 100.0
    assert by_label["City frequency"].factor == 1.0


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("frequency_hz", "frequenzy", "indicator.value", "missing tag 'microgrid.state.frequenzy'"),
        ("low = 59.4", "low = 61", "indicator.low", "low 61 is not below high 60.6"),
        ("normal = [59.9, 60.1]", "normal = [59.9, 62]", "indicator.normal", "59.9 … 62 is out of range 59.4 … 60.6"),
        ("normal = [59.9, 60.1]", 'normal = "yes"', "indicator.normal", "must be an array"),
        ('unit = "kV"\ndecimals = 2\nlow', 'unit = "MW"\ndecimals = 2\nlow', "indicator.value",
         "wrong unit: 'V' cannot be shown in 'MW'"),
        ("spark_span = 0.1", "spark_spam = 0.1", "indicator.spark_spam", "unknown key"),
        ('symbol = "wind"', 'symbol = "windmill"', "element.symbol", "'windmill' is none of pv"),
        ('soc = "jincheon.ess1.soc"\n', "", "element.soc", "a storage shows its state of charge"),
        ('positive = "out_of_bus"', 'positive = "sideways"', "element.positive", "none of into_bus, out_of_bus"),
        ('role = "tie"', 'role = "rope"', "curve.role", "'rope' is none of load"),
        ('bus = "B"', 'bus = "C"', "element.bus", "'C' is none of A, B"),
        ("[grid]", "[gird]", "gird", "unknown key"),
        ("format = 1", "format = 2", "format", "2 is out of range 1 … 1"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path, site, text, old, new, key, reason):
    assert old in text
    changed = text.replace(old, new, 1)
    found = wrong(tmp_path, site, changed)
    place = re.compile(rf"chungbuk/displays/overview\.toml:(\d+): {re.escape(key)}: .*{re.escape(reason)}")
    lines = [int(match[1]) for one in found if (match := place.match(one))]
    assert lines, found
    begin = changed[: changed.index(new) if new else text.index(old)].count("\n") + 1
    assert begin - 15 <= lines[0] <= begin + 6


def test_all_mistakes_come_at_once(tmp_path, site, text):
    changed = text.replace("low = 59.4", "low = 61").replace('role = "tie"', 'role = "rope"')
    assert len(wrong(tmp_path, site, changed)) >= 2


def test_what_is_not_toml_is_one_problem_with_its_line(tmp_path, site):
    (found,) = wrong(tmp_path, site, "format = 1\n[[indicator\n")
    assert "overview.toml:2: is not TOML" in found


def test_a_file_that_is_missing_is_one_problem(tmp_path, site):
    with pytest.raises(DisplayErrors, match="cannot be read"):
        load_display(tmp_path / "none.toml", site.tags, site)


def test_too_many_indicators_are_refused(tmp_path, site, text):
    block = text[text.index("[[indicator]]") : text.index("[[indicator]]", text.index("[[indicator]]") + 1)]
    found = wrong(tmp_path, site, text.replace(block, block * 5, 1))
    assert any("at most 14 can be read" in one for one in found)


def test_the_checker_gives_paths_that_lead_to_lines(tmp_path, site, text):
    import dataclasses

    (tmp_path / "displays").mkdir()
    (tmp_path / "displays" / "overview.toml").write_text(text.replace("low = 59.4", "low = 61"), encoding="utf-8")
    found = problems(dataclasses.replace(site, root=tmp_path))
    file, path, reason = found[0]
    document = Document.load(tmp_path / file, file)
    document.problem(path, reason)
    assert file == "displays/overview.toml"
    assert document.problems[0].line == text[: text.index("low = 59.4")].count("\n") + 1
