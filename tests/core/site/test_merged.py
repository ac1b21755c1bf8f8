"""Families' files beside alarms.toml, operations.toml, topology.toml, nodes.toml: read as one, complained of apart."""

import re

import pytest

from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

ALARM = """\
[[alarm]]
id = "{id}"
tag = "{tag}"
condition = "above"
limit = 5
priority = {priority}
respond_within_s = 600
text_ko = "많음"
text_en = "many"
cause_ko = "원인"
cause_en = "cause"
consequence_ko = "결과"
consequence_en = "consequence"
response_ko = "조치"
response_en = "response"
"""


def add(site, name, text):
    (site / name).parent.mkdir(exist_ok=True)
    (site / name).write_text(text, encoding="utf-8")


def problems(site):
    with pytest.raises(ConfigErrors) as caught:
        load_site(site)
    return [str(one) for one in caught.value.problems]


def test_alarms_of_a_family_file_join_the_others(site_copy):
    before = load_site(site_copy)
    add(site_copy, "alarms/extra.toml", ALARM.format(id="extra", tag="grid.tie.import_w", priority=3))
    site = load_site(site_copy)
    assert len(site.alarms) == len(before.alarms) + 1
    assert "extra" in {one.id for one in site.alarms}
    assert "alarms/extra.toml" in site.documents


def test_an_error_names_the_family_file_and_its_line(site_copy):
    text = ALARM.format(id="first", tag="grid.tie.import_w", priority=3)
    text += ALARM.format(id="second", tag="grid.tie.no_such_tag", priority=3)
    add(site_copy, "alarms/extra.toml", text)
    line = next(index for index, one in enumerate(text.splitlines(), 1) if "no_such_tag" in one)
    (found,) = problems(site_copy)
    assert found.startswith(f"chungbuk/alarms/extra.toml:{line}: alarm.tag: ")


def test_an_id_of_another_file_is_taken_already(site_copy):
    add(site_copy, "alarms/extra.toml", ALARM.format(id="breaker_open", tag="grid.tie.import_w", priority=3))
    assert problems(site_copy) == ["chungbuk/alarms/extra.toml:2: alarm.id: id 'breaker_open' is used already"]


def test_the_share_of_urgent_alarms_is_that_of_all_files_together(site_copy):
    total = len(load_site(site_copy).alarms)
    many = "".join(ALARM.format(id=f"u{n}", tag="grid.tie.import_w", priority=1) for n in range(total // 10))
    add(site_copy, "alarms/extra.toml", many)
    (found,) = problems(site_copy)
    assert re.match(r"chungbuk/alarms\.toml:\d+: alarm: \d+ of \d+ alarms .* have priority 1, at most 5 % may", found)


def test_a_key_that_only_the_family_file_has_is_complained_of_there(site_copy):
    add(site_copy, "alarms/extra.toml", 'alarms = "typo"\n')
    assert problems(site_copy) == ["chungbuk/alarms/extra.toml:1: alarms: unknown key"]


def test_one_table_in_place_of_the_array_is_complained_of_there(site_copy):
    add(site_copy, "alarms/extra.toml", "[alarm]\nid = 'x'\n")
    found = problems(site_copy)
    assert found == ["chungbuk/alarms/extra.toml:1: alarm: must be an array of tables, written [[alarm]]"]


def test_a_family_file_that_is_no_toml_is_the_only_problem(site_copy):
    add(site_copy, "topology/extra.toml", "[[node\n")
    (found,) = problems(site_copy)
    assert found.startswith("chungbuk/topology/extra.toml:1: is not TOML")


def test_nodes_of_a_family_file_join_the_topology(site_copy):
    first = re.search(r'(?m)^id = "(\w+)"', (site_copy / "topology.toml").read_text(encoding="utf-8"))[1]
    node = f'[[node]]\nid = "extra"\nkind = "load"\nko = "부하"\nen = "load"\nparent = "{first}"\n'
    add(site_copy, "topology/extra.toml", node)
    assert load_site(site_copy).topology.node("extra").parent == first


def test_an_operation_of_a_family_file_says_its_place(site_copy):
    add(site_copy, "operations/extra.toml", '[[operation]]\npoints = ["no.such.point"]\nkind = "setting"\n')
    (found,) = problems(site_copy)
    assert found.startswith("chungbuk/operations/extra.toml:2: operation.points: ")


def test_an_url_of_another_file_is_taken_already(site_copy):
    text = (site_copy / "nodes.toml").read_text(encoding="utf-8")
    first = re.search(r"(?ms)^\[\[node\]\]\n.*?(?=^\[\[)", text)[0]
    add(site_copy, "nodes/extra.toml", first.replace('name = "mic01"', 'name = "mic99"'))
    found = problems(site_copy)
    assert any(one.startswith("chungbuk/nodes/extra.toml:") and "node.url" in one and "already" in one for one in found)
