"""The estimation's files: what is refused, and that the default site's agree with its simulated microgrid."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from plant_rig import ROOT, model, name_in_plant, settings, site

from gwanje.control.microgrid.estimation import settings as module
from gwanje.control.microgrid.estimation.model import build
from gwanje.control.microgrid.estimation.settings import FILE, check_tags, parse, problems
from gwanje.control.microgrid.files.family_files import FamilyFileError, FamilyFiles, read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.core.site.check import check_site
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.table import TagTable
from gwanje.io.sim.main import build_plant


def test_the_default_site_has_the_tags_and_no_others():
    assert sorted(one.name for one in site().tags if one.owner == module.OWNER) == sorted(settings().writes())
    assert problems(site()) == []


def test_network_and_devices_agree_with_the_simulated_microgrid():
    """Two descriptions of one network, by two who do not read each other's file."""
    plant = build_plant(site()).plant
    buses, network = plant.buses, model().connected.params.network
    kept = {name_in_plant(one.id): one.id for one in settings().bus}
    for at, name in enumerate(buses.names):
        if name not in kept:
            up = buses.names[buses.parent[at]] if at else ""
            assert name == "utility" or up.partition(".")[0] == name.partition(".")[0], name
            continue
        k = network.buses.index(kept[name])
        if name == "tie":
            assert network.parent[k] == -1
            continue
        assert name_in_plant(network.buses[network.parent[k]]) == buses.names[buses.parent[at]]
        assert (network.r[k], network.x[k]) == pytest.approx((buses.r[at], buses.x[at]), rel=1e-9), name
        medium = "." not in name or name.startswith(("jincheon.", "eumseong.", "lamps."))
        assert network.base_v[k] == (plant.told.nominal_v if medium else plant.told.low_v)
    assert set(kept) <= set(buses.names)
    where = {one.device: {one.bus} for one in (*plant.told.ess, *plant.told.genset, *plant.told.source)}
    where |= {one.device: set(one.buses) for one in plant.told.load}
    ratings = {one.bus: one.rated_va for one in settings().transformer}
    assert ratings == {one.name: one.rated_va for one in plant.told.transformer}
    told = {one.tag.rpartition(".")[0]: {one.bus} for one in settings().unit}
    told |= {one.tag.rpartition(".")[0]: set(one.buses) for one in settings().load}
    assert set(told) == set(where), "every device has a meter"
    for device, at in told.items():
        ours = {name_in_plant(one).partition(".")[0] for one in at}
        assert ours == {one.partition(".")[0] for one in where[device]}, device


def content(**changes):
    """The default files with other tables."""
    files = read_family_files(ROOT, FILE)
    files.content |= changes
    return files


def with_changed(key, at, values):
    files = read_family_files(ROOT, FILE)
    tables = [dict(one) for one in files.content[key]]
    tables[at] |= values
    files.content[key] = [{name: value for name, value in one.items() if value is not None} for one in tables]
    return files


@pytest.mark.parametrize(("key", "at", "values", "where", "why"), [
    ("bus", 0, {"nominal_v": -5}, "nominal_v", "-5 is not within"),
    ("bus", 0, {"ko": None}, "ko", "is missing"),
    ("bus", 3, {"colour": "red"}, "colour", "unknown key"),
    ("bus", 3, {"id": "jincheon_1"}, "id", "'jincheon_1' is there twice"),
    ("bus", 3, {"id": "진천"}, "id", "small letters"),
    ("bus", 1, {"source": True}, "", "2 buses with source"),
    ("line", 2, {"at": "nowhere"}, "at", "there is no bus 'nowhere'"),
    ("line", 2, {"km": "far"}, "km", "is not a number"),
    ("line", 2, {"bus": "jincheon_2"}, "bus", "two branches end at 'jincheon_2'"),
    ("line", 2, {"at": "shops"}, "at", "different nominal_v"),
    ("line", 2, {"at": "jincheon_3"}, "id", "no branch joins"),
    ("transformer", 0, {"rated_va": 0}, "rated_va", "0 is not within"),
    ("load", 0, {"sigma_w": -1}, "sigma_w", "-1 is not within"),
    ("load", 0, {"buses": ["homes_a", "homes_z"]}, "buses", "there is no bus 'homes_z'"),
    ("load", 0, {"buses": []}, "buses", "is empty"),
    ("load", 1, {"tag": "jincheon.homes.load_w"}, "tag", "is read twice"),
    ("unit", 0, {"bus": "tie"}, "bus", "at the source only a voltage"),
    ("meter", 0, {"quantity": "load_w"}, "load", "belong together"),
    ("meter", 0, {"sigma_share": float("nan")}, "sigma_share", "is not a number"),
    ("meter", 2, {"quantity": "frequency"}, "quantity", "is none of"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_its_key(key, at, values, where, why):
    with pytest.raises(ControlConfigError) as caught:
        parse(with_changed(key, at, values))
    assert any(path[-1] == where or not where for path, _ in caught.value.problems)
    assert why in str(caught.value)


def test_a_load_has_three_meters_at_most():
    files = content()
    again = next(one for one in files.content["meter"] if one.get("load"))
    more = [{**again, "id": f"more{k}", "tag": f"jincheon.x{k}.load_w"} for k in range(2)]
    files.content["meter"] = [*files.content["meter"], *more]
    with pytest.raises(ControlConfigError, match="'homes' has 3 meters already"):
        parse(files)


@pytest.mark.parametrize(("key", "values", "why"), [
    ("load", {"tag": "jincheon.nobody.load_w"}, "there is no tag jincheon.nobody.load_w"),
    ("load", {"tag": "jincheon.ess1.soc"}, "not in W"),
    ("load", {"switch": "jincheon.nobody.closed"}, "there is no tag"),
    ("meter", {"tag": "jincheon.nobody*.voltage_v"}, "no tag fits"),
    ("meter", {"tag": "estimation.jincheon_1.flow_w", "quantity": "flow_w", "bus": "city"}, "is an estimate itself"),
    ("bus", {"shown": True, "id": "hamlet"}, "there is no tag estimation.hamlet.voltage_pu"),
])  # fmt: skip
def test_tags_that_are_not_there_are_named(key, values, why):
    ours = settings()
    changed = replace(ours, **{key: (replace(getattr(ours, key)[0], **values), *getattr(ours, key)[1:])})
    with pytest.raises(ControlConfigError, match=r"(?s)" + why.replace("*", r"\*")):
        check_tags(changed, site().tags)


def test_tags_of_another_owner_are_refused():
    name = settings().writes()[0]
    tags = TagTable.build(replace(one, owner="core") if one.name == name else one for one in site().tags)
    with pytest.raises(ControlConfigError, match="belongs to core"):
        check_tags(settings(), tags)


def test_the_site_check_names_file_and_line(tmp_path):
    root = tmp_path / "chungbuk"
    shutil.copytree(ROOT, root)
    path = root / FILE
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("sigma_w = 200"))
    lines[at] = "sigma_w = -200"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        check_site(root)
    assert f"{FILE}:{at + 1}" in str(caught.value)
    assert "-200 is not within" in str(caught.value)
    path.write_text("[[bus]", encoding="utf-8")
    with pytest.raises(FamilyFileError, match="is not TOML"):
        read_family_files(root, FILE)
    with pytest.raises(ConfigErrors, match="is not TOML"):
        check_site(root)


def test_a_network_without_a_breaker_has_no_island():
    files: FamilyFiles = content(breaker=[])
    lines = [*files.content["line"], {"at": "tie", "bus": "city", "km": 0.0, "r_ohm_per_km": 0.0, "x_ohm_per_km": 0.0}]
    files.content["line"] = lines
    made = build(parse(files), site().tags)
    assert made.islanded is None
    assert np.array_equal(made.connected.params.network.parent, model().connected.params.network.parent)
