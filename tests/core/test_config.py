"""A site's files: the default site is sound, and every kind of mistake is named with file, line, key and reason."""

import shutil
from pathlib import Path

import pytest

from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

ROOT = Path(__file__).resolve().parents[2]
CHUNGBUK = ROOT / "configs" / "chungbuk"

SITE = """\
[site]
id = "t"
name_ko = "시험"
name_en = "Test"
connection_rating_w = 1000
parts = ["field", "control"]
"""
TAGS = """\
[[tag]]
name = "a.m.load_w"
unit = "W"
owner = "field"
ko = "부하"
en = "load"

[[tag]]
name = "a.m.discharge_setpoint_w"
unit = "W"
owner = "field"
ko = "설정"
en = "set-point"

[[tag]]
name = "control.m.discharge_setpoint_w"
unit = "W"
owner = "control"
low = -10
high = 10
ko = "설정"
en = "set-point"

[[tag]]
name = "system.lease.tie_line_until_s"
unit = "s"
owner = "core"
ko = "임대"
en = "lease"
"""
DEVICES = """\
[[device]]
name = "m"
area = "a"
label_ko = "계량기"
label_en = "meter"
driver = "sunspec"
host = "127.0.0.1"
port = 15001

[[device.point]]
tag = "a.m.load_w"
model = 203
name = "W"

[[device.setpoint]]
tag = "control.m.discharge_setpoint_w"
feedback_tag = "a.m.discharge_setpoint_w"
model = 704
name = "WSet"
failsafe = 0
lease = "tie_line"
"""


@pytest.fixture
def site(tmp_path):
    """A small sound site; call with file → (old, new) replacements to spoil it, get the problems as text."""
    root = tmp_path / "small"
    (root / "tags").mkdir(parents=True)
    (root / "devices").mkdir()
    texts = {"site.toml": SITE, "tags/t.toml": TAGS, "devices/d.toml": DEVICES}

    def spoiled(**changes):
        for name, text in texts.items():
            old, new = changes.get(name.split(".")[0].replace("/", "_"), ("", ""))
            assert old in text
            (root / name).write_text(text.replace(old, new, 1) if old else text + new, encoding="utf-8")
        try:
            return load_site(root)
        except ConfigErrors as errors:
            return [str(one) for one in errors.problems]

    return spoiled


def test_the_small_site_is_sound(site):
    loaded = site()
    assert loaded.devices[0].setpoints[0].lease == "tie_line"
    assert "a.m.online" in loaded.tags


def test_the_default_site_is_sound():
    loaded = load_site(CHUNGBUK)
    assert sum(device.part == "field" for device in loaded.devices) >= 13
    assert len(loaded.nodes) == 200
    assert sum(tag.name.startswith("jincheon.home") and tag.name.endswith(".load_w") for tag in loaded.tags) >= 100


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"site": ('id = "t"', 'id = "t"\nspeed = 3')}, "small/site.toml:3: site.speed: unknown key"),
        ({"site": ('id = "t"', 'id = "t"\ntimezone = "Asia/Soul"')}, "site.toml:3: site.timezone: 'Asia/Soul' is no"),
        ({"site": ('name_ko = "시험"\n', "")}, "small/site.toml:1: site.name_ko: is missing (text)"),
        ({"site": ("= 1000", "= -5")}, "small/site.toml:5: site.connection_rating_w: -5 is out of range 1 … 1e+10"),
        ({"site": ('"control"]', '"contrl"]')}, "small/site.toml:6: site.parts: 'contrl' is none of"),
        ({"site": ("[site]", "[site")}, "small/site.toml:1: is not TOML"),
        ({"tags_t": ('unit = "W"', 'unit = "kW"')}, "small/tags/t.toml:3: tag.unit: wrong unit 'kW'"),
        ({"tags_t": ('unit = "W"', 'unit = "V"')}, "small/tags/t.toml:3: tag.unit: wrong unit 'V': the name"),
        ({"tags_t": ("low = -10", "low = 20")}, "small/tags/t.toml:19: tag.low: low 20 is not below high 10"),
        ({"tags_t": ("a.m.load_w", "a.load_w")}, "small/devices/d.toml:11: device.point.tag: missing tag 'a.m.load_w'"),
        ({"tags_t": ("a.m.load_w", "a.load_w")}, "small/tags/t.toml:2: tag.name: 'a.load_w' is not area.device"),
        ({"tags_t": ('name = "a.m.discharge_setpoint_w"', 'name = "a.m.load_w"')}, "'a.m.load_w' stands in"),
        ({"devices_d": ("port = 15001", "port = 70000")}, "small/devices/d.toml:8: device.port: 70000 is out of range"),
        ({"devices_d": ('driver = "sunspec"', 'driver = "sunspek"')}, "d.toml:6: device.driver: 'sunspek' is none of"),
        (
            {"devices_d": ('feedback_tag = "a.m.discharge_setpoint_w"\n', "")},
            "small/devices/d.toml:15: device.setpoint: command without feedback tag",
        ),
        ({"devices_d": ("failsafe = 0", "failsafe = 99")}, "d.toml:20: device.setpoint.failsafe: 99.0 is out of range"),
        ({"devices_d": ('lease = "tie_line"', "lease = 5")}, "d.toml:21: device.setpoint.lease: must be text, is 5"),
        ({"devices_d": ('lease = "tie_line"', 'lease = "tie"')}, "d.toml:21: device.setpoint.lease: no lease 'tie'"),
        (
            {"devices_d": ("", DEVICES.replace('name = "m"', 'name = "n"', 1).split("[[device.setpoint]]")[0])},
            "d.toml:29: device.port: 127.0.0.1:15001 unit 1 is the address of device 'm' already",
        ),
        (
            {"devices_d": ("", DEVICES.replace('name = "m"', 'name = "n"', 1).split("[[device.setpoint]]")[0])},
            "device.point.tag: device 'm' feeds tag 'a.m.load_w' already",
        ),
        ({"devices_d": ("[[device.setpoint]]", "[[device.comand]]")}, "d.toml:15: device.comand: unknown key"),
        ({"site": ('"control"]', '["control"]]')}, "small/site.toml:6: site.parts: ['control'] is none of"),
        ({"site": ("= 1000", "= 1" + 400 * "0")}, "small/site.toml:5: site.connection_rating_w: 1000"),
    ],
)
def test_mistakes_are_named(site, changes, expected):
    problems = site(**changes)
    assert isinstance(problems, list), "the mistake went unseen"
    assert any(expected in one for one in problems), "\n".join(problems)


def test_all_mistakes_at_once(site):
    problems = site(site=("= 1000", "= -5"), tags_t=('unit = "W"', 'unit = "kW"'), devices_d=("15001", "0"))
    assert len(problems) == 3


def test_a_tag_that_nothing_feeds_is_named(site):
    extra = '[[tag]]\nname = "a.m.extra_w"\nunit = "W"\nowner = "field"\nko = "x"\nen = "x"\n'
    assert any("no device point feeds tag 'a.m.extra_w'" in one for one in site(tags_t=("", extra)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node = 3\n", "small/nodes.toml:1: node: must be an array, is 3"),
        ('node = ["mic"]\n', "small/nodes.toml:1: node: must be a table"),
        ("script = [[1]]\n", "small/nodes.toml:1: script: must be a table"),
    ],
)
def test_nodes_that_are_no_tables_are_named(site, tmp_path, text, expected):
    (tmp_path / "small" / "nodes.toml").write_text(text, encoding="utf-8")
    assert any(expected in one for one in site())


def test_absent_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigErrors, match=r"site\.toml:1: cannot be read: No such file"):
        load_site(tmp_path)
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigErrors, match="is not UTF-8"):
        load_site(tmp_path)


def test_the_command_prints_every_problem_and_no_traceback(tmp_path, capsys):
    from gwanje.core.cli.main import main

    root = tmp_path / "chungbuk"
    shutil.copytree(CHUNGBUK, root)
    devices = root / "devices" / "energy.toml"
    devices.write_text(devices.read_text(encoding="utf-8").replace('driver = "sunspec"', 'driver = "x"', 2))
    assert main(["check", str(root)]) == 1
    said = capsys.readouterr().err
    assert said.count("'x' is none of") == 2
    assert "Traceback" not in said
