"""A site of the plan's size: everything is there, found where it belongs, and one mistake is told once."""

import fnmatch
import random

import pytest
from large_site import large_site

from gwanje.core.alarms.topology import Topology, TopologyNode
from gwanje.core.city.site_image import SiteChangedError, site_of
from gwanje.core.site.config import load_site
from gwanje.core.site.summary import summary
from gwanje.core.site.toml_reader import ConfigErrors


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return large_site(tmp_path_factory.mktemp("town") / "large")


@pytest.fixture(scope="module")
def site(root):
    return load_site(root)


def test_all_devices_tags_and_alarms_are_there(site):
    assert (len(site.devices), len(site.tags), len(site.alarms)) == (3402, 26860, 3400)
    assert site.topology.of_tag("jincheon.lamp2999.fault") == "lamp2999"
    assert site.alarms[17].texts.text_ko == "가로등 18 고장 이상"
    assert len(site.places) == 3402


def test_the_summary_names_families_and_fleets(site, root):
    lines = summary(root, site)
    assert lines[0].endswith("no errors: 26860 tags, 3402 devices with 20400 points, 0 microphone nodes, 3400 alarms")
    assert [one.split()[0] for one in lines[1:]] == ["charging", "400", "street", "3000"]
    assert "lamp0001 … lamp3000: profile streetlight, devices/street.toml" in lines[4]


def test_one_mistake_of_a_pattern_is_told_once(tmp_path):
    root = large_site(tmp_path / "large", 50, 20)
    alarms = root / "alarms.toml"
    alarms.write_text(alarms.read_text(encoding="utf-8").replace("limit = 0.5", "limit = -5"), encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load_site(root)
    found = [str(one) for one in caught.value.problems]
    assert len(found) == 2
    assert found[0].startswith("large/alarms.toml:5: alarm.limit: limit -5 is outside jincheon.lamp0001.fault's range")
    assert found[0].endswith("(and 49 more like it)")


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_pattern_wins_however_it_is_written(seed):
    rng = random.Random(seed)
    words = ("a", "b", "ab", "lamp1", "lamp2")
    kinds = ("{0}.{1}.*", "{0}.*", "*.{1}.*", "{0}.{1}.{2}", "{0}.{1}*", "*.{2}", "{0}.?.*", "{0}.[ab].*", "*")
    patterns = [rng.choice(kinds).format(*(rng.choice(words) for _ in range(3))) for _ in range(40)]
    patterns = list(dict.fromkeys(patterns))
    nodes = [TopologyNode(f"n{at}", "load", "", "", tags=(one,)) for at, one in enumerate(patterns)]
    tree = Topology.build(nodes)
    for _ in range(60):
        tag = ".".join(rng.choice(words) for _ in range(3))
        fitting = [(len(one), -at) for at, one in enumerate(patterns) if fnmatch.fnmatchcase(tag, one)]
        wanted = f"n{-max(fitting)[1]}" if fitting else ""
        assert tree.of_tag(tag) == wanted, (tag, patterns)


def test_a_part_takes_the_site_in_memory_only_when_it_is_the_same(tmp_path):
    root = large_site(tmp_path / "large", 5, 5)
    site = load_site(root)
    assert site_of(root, site.sha256, site) is site
    read = site_of(root, site.sha256, None)
    assert (read is site, read.tags.sha256) == (False, site.tags.sha256)
    path = root / "devices" / "street.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("[1, 5]", "[1, 6]"), encoding="utf-8")
    assert site_of(root, site.sha256, site) is site
    with pytest.raises(SiteChangedError, match="changed after the city was started"):
        site_of(root, site.sha256, None)
