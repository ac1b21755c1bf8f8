"""Areas in a site's files: every point that can be commanded belongs to one, the checker says where one does not."""

import shutil

import pytest

from gwanje.core.authority.areas import Area, AreaMap, AreaTable
from gwanje.core.site.config import ConfigErrors, load_site
from gwanje.core.tags.table import WRITABLE_KINDS


def problems(site):
    with pytest.raises(ConfigErrors) as errors:
        load_site(site)
    return [str(one) for one in errors.value.problems]


def write(site, text):
    (site / "areas.toml").write_text(text, encoding="utf-8")


def area(name, *patterns):
    tags = ", ".join(f'"{one}"' for one in patterns)
    return f'[[area]]\nid = "{name}"\nko = "가"\nen = "{name}"\ntags = [{tags}]\n'


def without_alarms(site):
    (site / "alarms.toml").unlink()
    shutil.rmtree(site / "alarms")


def test_every_point_of_the_city_has_an_area_and_each_area_a_tag(site_copy):
    site = load_site(site_copy)
    found = AreaMap(site.areas)
    assert {one.id for one in site.areas} >= {"jincheon", "eumseong", "microgrid", "streets", "traffic", "system"}
    for tag in site.tags:
        if tag.kind in WRITABLE_KINDS:
            assert found.of(tag.name), tag.name
    assert found.of("control.tie.import_setpoint_w") == "microgrid"
    assert found.of("jincheon.mic03.level_db") == "streets", "the first match counts"
    for one in site.areas:
        held = site.tags.get(f"system.area_{one.id}.held")
        assert (held.owner, held.states[1][1]) == ("core", "held")


def test_a_point_without_an_area_is_named_where_it_was_declared(site_copy):
    without_alarms(site_copy)  # some watch areas that are not there then
    write(site_copy, area("microgrid", "control.*") + area("rest", "eumseong.*", "sim.*", "grid.*"))
    found = problems(site_copy)
    assert found
    assert all("can be commanded and belongs to no area of chungbuk/areas.toml" in one for one in found)
    line = next(one for one in found if "'jincheon.ess1.energy_wh_capacity'" in one)
    file, number, *_ = line.split(":")
    assert file == "chungbuk/tags/energy.toml"
    text = (site_copy / "tags" / "energy.toml").read_text(encoding="utf-8").splitlines()
    assert "jincheon.ess1.energy_wh_capacity" in text[int(number) - 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (area("all", "*") + area("more", "grid.*"), "areas.toml:10: area.tags: everything that 'grid.*' matches"),
        (area("all", "*") + area("all", "grid.*"), "areas.toml:7: area.id: area 'all' is there already"),
        (area("All", "*"), "areas.toml:2: area.id: 'All' is not a short word"),
        (area("a.b", "*"), "is not a short word"),
        (area("all", "*").replace('"*"', "5"), "area.tags: must be at most"),
        (area("all", "*") + 'colour = "red"\n', "unknown key"),
        ('[[area]]\nid = "all"\n', "area.ko: is missing"),
        ("", "area: is missing"),
        ("[[area", "is not TOML"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_with_its_line(site_copy, text, reason):
    write(site_copy, text)
    assert any(reason in one for one in problems(site_copy)), problems(site_copy)


def test_a_site_without_areas_has_none_and_its_points_take_a_supervisor(site_copy):
    without_alarms(site_copy)
    (site_copy / "areas.toml").unlink()
    site = load_site(site_copy)
    assert site.areas == ()
    assert AreaMap(site.areas).of("control.tie.import_setpoint_w") == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("idle_lock_s = 10", "authority.idle_lock_s: 10 is out of range"),
        ("session_s = 1e9", "authority.session_s"),
        ("never = true", "authority.never: unknown key"),
    ],
)
def test_the_authority_table_of_the_site_is_checked(site_copy, line, reason):
    path = site_copy / "site.toml"
    path.write_text(path.read_text(encoding="utf-8") + f"\n[authority]\n{line}\n", encoding="utf-8")
    assert any(reason in one for one in problems(site_copy))


def test_the_authority_table_says_how_long_things_last(site_copy):
    path = site_copy / "site.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n[authority]\nidle_lock_s = 60\n", encoding="utf-8")
    authority = load_site(site_copy).authority
    assert (authority.idle_lock_s, authority.session_s, authority.area_grace_s) == (60.0, 43_200.0, 300.0)


def test_names_that_do_not_exist_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("gwanje.core.authority.areas.KNOWN_MAX", 10)
    found = AreaMap([Area("a", "가", "A", ("a.*",))])
    assert [found.of(f"a.{number}") for number in range(50)] == ["a"] * 50
    assert len(found._known) == 10


def test_what_is_kept_of_areas_is_taken_up_for_sessions_that_go_on():
    table = AreaTable(["a", "b", "c"])
    for name, session in (("a", "s1"), ("b", "s2"), ("c", "s3")):
        table.put(name, session, f"user of {session}", 1)
    state = table.to_state()
    again = AreaTable(["a", "b"])
    again.restore(state, {"s1": "user of s1", "s2": "somebody else", "s3": "user of s3"})
    assert [again.holding(one) is not None for one in ("a", "b", "c")] == [True, False, False]
