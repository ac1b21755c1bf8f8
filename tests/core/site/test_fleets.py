"""Profiles and fleets: what they come to, and that every mistake is named with file, line, key and reason, once."""

import math

import pytest

from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

SITE = """\
[site]
id = "t"
name_ko = "시험"
name_en = "Test"
connection_rating_w = 1000
"""
PROFILE = """\
[profile]
driver = "talq"
scan = "slow"
timeout_s = 2.0
health = "online"
params = { retries = 2, path = "/assets/{id}" }

[[point]]
quantity = "dim_pct"
unit = "%"
low = 0
high = 100
stale_after_s = 60
ko = "조광률"
en = "dimming level"
at = { attribute = "dim" }

[[command]]
quantity = "dim_setpoint_pct"
unit = "%"
low = 0
high = 100
failsafe = 80
hold_s = 3600
revert_s = 600
ko = "조광 설정"
en = "dimming set-point"
at = { attribute = "override" }
"""
DEVICES = """\
[[device]]
name = "gateway"
area = "east"
label_ko = "게이트웨이"
label_en = "Gateway"
driver = "talq"
host = "127.0.0.1"
port = 15510
params = { group = 1 }

[[fleet]]
profile = "lamp"
n = [1, 12]
name = "lamp{n:03}"
area = "east"
label_ko = "가로등 {n}"
label_en = "Streetlight {n}"
via = "gateway"
address = "lamp-{n}"
x_m = 10.0
y_m = 20.0
columns = 5
dx_m = 30.0
dy_m = 40.0
params = { circuit = "c{n}" }
[fleet.twin]
kind = "lamp"
serial = "S{n:05}"
"""


@pytest.fixture
def site(tmp_path):
    """Writes a site and gives it, or its problems."""
    root = tmp_path / "t"
    for folder in ("profiles", "devices", "tags"):
        (root / folder).mkdir(parents=True)
    (root / "site.toml").write_text(SITE, encoding="utf-8")

    def made(devices=DEVICES, profile=PROFILE, **others):
        (root / "profiles" / "lamp.toml").write_text(profile, encoding="utf-8")
        (root / "devices" / "street.toml").write_text(devices, encoding="utf-8")
        for name, text in others.items():
            (root / name.replace("__", "/")).with_suffix(".toml").write_text(text, encoding="utf-8")
        return load_site(root)

    return made


def problems(site, **files):
    with pytest.raises(ConfigErrors) as caught:
        site(**files)
    return [str(one) for one in caught.value.problems]


def line(text, part, nth=0):
    """Number of the nth line that holds a text."""
    return [number for number, one in enumerate(text.splitlines(), 1) if part in one][nth]


# ---------------------------------------------------------------- what they come to


def test_a_fleet_is_counted_out(site):
    devices = site().devices
    assert len(devices) == 13
    assert [one.name for one in devices[1:4]] == ["lamp001", "lamp002", "lamp003"]
    seventh = devices[7]
    assert (seventh.label_ko, seventh.label_en, seventh.address) == ("가로등 7", "Streetlight 7", "lamp-7")
    assert (seventh.part, seventh.via, seventh.host, seventh.port) == ("street", "gateway", "", 0)
    assert (seventh.scan, seventh.timeout_s, seventh.health) == ("slow", 2.0, "online")
    assert seventh.twin.kind == "lamp"
    assert seventh.twin.params == {"serial": "S00007"}


def test_a_fleet_stands_in_rows_of_columns(site):
    places = [(one.x_m, one.y_m) for one in site().devices[1:]]
    assert places[:6] == [(10, 20), (40, 20), (70, 20), (100, 20), (130, 20), (10, 60)]
    assert places[11] == (40, 100)


def test_params_of_the_profile_are_left_as_they_are_and_the_fleets_are_numbered(site):
    device = site().device("lamp012")
    assert device.params == {"retries": 2, "path": "/assets/{id}", "circuit": "c12"}
    assert device.own_params == {"circuit"}


def test_points_and_commands_make_the_tags_of_every_device(site):
    found = site()
    tag = found.tags.get("east.lamp003.dim_pct")
    assert (tag.owner, tag.unit, tag.low, tag.high, tag.stale_after_s) == ("street", "%", 0, 100, 60)
    assert tag.simulated
    assert (tag.description_ko, tag.description_en) == ("가로등 3 조광률", "Streetlight 3, dimming level")
    command = found.tags.get("east.lamp003.dim_setpoint_pct")
    assert command.kind == "setpoint"
    assert "east.lamp003.online" in found.tags
    assert "east.lamp003.scan_ms" not in found.tags
    device = found.device("lamp003")
    (point,), (written,) = device.points, device.commands
    assert (point.tag, point.at) == ("east.lamp003.dim_pct", {"attribute": "dim"})
    assert (written.tag, written.feedback_tag) == (command.name, command.name)
    assert (written.failsafe, written.hold_s, written.revert_s) == (80, 3600, 600)
    assert found.operations.by_point[command.name].point == command.name


def test_the_family_and_its_simulator_become_parts(site):
    assert {"street", "simcity"} <= set(site().parts)
    assert "system.family_street.reads_per_s" in site().tags


def test_a_real_fleet_brings_no_simulator(site):
    found = site(devices=DEVICES[: DEVICES.index("[fleet.twin]")])
    assert "simcity" not in found.parts
    assert not found.tags.get("east.lamp003.dim_pct").simulated


def test_ports_count_up_by_their_step(site):
    fleet = DEVICES.replace('via = "gateway"\naddress = "lamp-{n}"', 'host = "127.0.0.1"\nport = 15600\nport_step = 2')
    assert [one.port for one in site(devices=fleet).devices[1:4]] == [15600, 15602, 15604]


def test_one_device_of_a_profile(site):
    one = '[[device]]\nprofile = "lamp"\nname = "door"\narea = "east"\nlabel_ko = "문등"\nlabel_en = "Door light"\n'
    one += 'via = "gateway"\naddress = "d"\n'
    found = site(devices=DEVICES + one)
    assert found.tags.get("east.door.dim_pct").description_en == "Door light, dimming level"
    assert math.isnan(found.device("door").x_m)


def test_a_profiles_setpoint_follows_the_tag_of_another_part(site):
    setpoint = '[[setpoint]]\ntag = "control.{name}.dim_pct"\nfeedback_tag = "dim_pct"\n'
    setpoint += 'failsafe = 80\nlease = "tie_line"\n'
    common = 'low = 0\nhigh = 100\nko = "가"\nen = "a"\n'
    tags = "".join(
        f'[[tag]]\nname = "{name}"\nunit = "{unit}"\nowner = "{owner}"\n{common}{more}'
        for name, unit, owner, more in (
            ("control.lamp{n:03}.dim_pct", "%", "control", "for_n = [1, 12]\n"),
            ("system.lease.tie_line_until_s", "s", "core", ""),
        )
    )
    found = site(profile=PROFILE + setpoint, tags__control=tags)
    (made,) = found.device("lamp005").setpoints
    assert (made.tag, made.feedback_tag) == ("control.lamp005.dim_pct", "east.lamp005.dim_pct")


# ---------------------------------------------------------------- mistakes of fleets


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("n = [1, 12]", "n = [1]", "n", "must be [first, last], whole numbers from 0 on, is [1]"),
        ("n = [1, 12]", "n = [12, 1]", "n", "must be [first, last], whole numbers from 0 on, is [12, 1]"),
        ("n = [1, 12]", "n = [-1, 12]", "n", "must be [first, last], whole numbers from 0 on, is [-1, 12]"),
        ("n = [1, 12]", "n = [true, 12]", "n", "must be [first, last], whole numbers from 0 on, is [True, 12]"),
        ("n = [1, 12]", "n = [1.0, 12]", "n", "must be [first, last], whole numbers from 0 on, is [1.0, 12]"),
        ("n = [1, 12]", 'n = "1-12"', "n", "must be an array, is '1-12'"),
        ("n = [1, 12]", "n = [1, 90000]", "n", "90000 devices, at most 20000"),
        ('name = "lamp{n:03}"', 'name = "lamp"', "name", "must hold {n}, for every device has a name of its own"),
        ('name = "lamp{n:03}"', 'name = "lamp{n:x"', "name", "cannot be expanded: only {n} may stand in braces"),
        ('name = "lamp{n:03}"', 'name = "lamp{n} {m}"', "name", "only {n} may stand in braces ('m')"),
        ('name = "lamp{n:03}"', 'name = "Lamp {n}"', "name", "'Lamp 1' is not a word of small letters, digits and _"),
        ('label_ko = "가로등 {n}"', 'label_ko = "가로등 {k}"', "label_ko", "cannot be expanded"),
        ('serial = "S{n:05}"', 'serial = "S{n.no}"', "twin", "cannot be expanded"),
        ('circuit = "c{n}"', 'circuit = "c{}"', "params", "cannot be expanded"),
        ('area = "east"\nlabel_ko = "가로등', 'area = "East"\nlabel_ko = "가로등', "area", "'East' is not a word"),
        ('profile = "lamp"', 'profile = "lump"', "profile", "no profile 'lump' in profiles/ (known: lamp)"),
        ('via = "gateway"', 'via = "door"', "via", "no device 'door'"),
        ('via = "gateway"', 'via = "lamp001"', "via", "'lamp001' is behind 'lamp001' itself"),
        ('address = "lamp-{n}"', 'address = "lamp"', "address", "'lamp' behind 'gateway' is the address of device"),
        ('address = "lamp-{n}"\n', "", "address", "is missing (text)"),
        ("columns = 5", "columns = 0", "columns", "0 is out of range 1 … 1000"),
        ("columns = 5", "colums = 5", "colums", "unknown key"),
        ('kind = "lamp"', 'kin = "lamp"', "twin.kind", "is missing (text)"),
    ],
)
def test_a_fleets_mistake_is_told_once_with_its_line(site, old, new, key, reason):
    assert old in DEVICES
    devices = DEVICES.replace(old, new)
    found = [one for one in problems(site, devices=devices) if f"fleet.{key}: " in one]
    assert len(found) == 1, problems(site, devices=devices)
    assert reason in found[0]
    written = new.partition(" =")[0]
    last = key.rpartition(".")[2]
    if written == last and "kind" not in key:
        first = line(devices, "[[fleet]]")
        stands = next(n for n, one in enumerate(devices.splitlines(), 1) if n > first and one.startswith(f"{last} ="))
        assert found[0].startswith(f"t/devices/street.toml:{stands}: ")
    else:
        assert found[0].startswith("t/devices/street.toml:")


def test_a_fleet_without_n_says_so_once(site):
    found = problems(site, devices=DEVICES.replace("n = [1, 12]\n", ""))
    start = line(DEVICES, "[[fleet]]")
    assert [one for one in found if ".n:" in one] == [f"t/devices/street.toml:{start}: fleet.n: is missing (array)"]


@pytest.mark.parametrize("key", ["name", "area", "label_ko", "label_en", "profile"])
def test_a_fleet_without_a_key_says_which(site, key):
    before, _, fleet = DEVICES.partition("[[fleet]]")
    fleet = "\n".join(one for one in fleet.splitlines() if not one.startswith(f"{key} ="))
    found = problems(site, devices=f"{before}[[fleet]]{fleet}\n")
    assert f"t/devices/street.toml:{line(DEVICES, '[[fleet]]')}: fleet.{key}: is missing (text)" in found


def test_ports_beyond_the_last_are_refused(site):
    fleet = DEVICES.replace('via = "gateway"\naddress = "lamp-{n}"', 'host = "127.0.0.1"\nport = 65530\nport_step = 1')
    (found,) = problems(site, devices=fleet)
    assert found.endswith("fleet.port_step: port 65536 of device 'lamp007' is above 65535")


def test_two_fleets_on_the_same_ports_are_told_once(site):
    fleet = DEVICES.replace('via = "gateway"\naddress = "lamp-{n}"', 'host = "127.0.0.1"\nport = 15600\nport_step = 1')
    again = fleet[fleet.index("[[fleet]]") :].replace("lamp{n:03}", "lump{n:03}")
    (found,) = problems(site, devices=fleet + again)
    assert "fleet.port: 127.0.0.1:15600 unit 0 is the address of device 'lamp001' already" in found


@pytest.mark.parametrize("host", ["lamps..example", "x" * 64, ".", "127.0.0.1 ", "a\\tb"])
def test_a_host_that_no_resolver_would_take_is_told(site, host):
    with pytest.raises(ConfigErrors, match="is no host") as caught:
        site(devices=DEVICES.replace("127.0.0.1", host))
    assert "host" in str(caught.value)


def test_two_devices_of_one_name_are_refused(site):
    again = DEVICES[DEVICES.index("[[fleet]]") :].replace("lamp-{n}", "lump-{n}")
    found = problems(site, devices=DEVICES, devices__more=again)
    assert found == ["t/devices/street.toml:14: fleet.name: device 'lamp001' stands in t/devices/more.toml already"]


def test_a_device_of_another_part_is_no_way(site):
    door = '[[device]]\nname = "door"\narea = "east"\nlabel_ko = "문"\nlabel_en = "Door"\ndriver = "ocpp"\n'
    door += 'host = "127.0.0.1"\nport = 15500\nparams = { hub = true }\n'
    (found,) = problems(site, devices=DEVICES.replace('via = "gateway"', 'via = "door"') + door)
    assert "fleet.via: 'door' belongs to part 'charging', this device to 'street'" in found


# ---------------------------------------------------------------- mistakes of profiles


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ('driver = "talq"', 'driver = "tulq"', "profile.driver", "'tulq' is none of sunspec, registers"),
        ('scan = "slow"', 'scan = "often"', "profile.scan", "'often' is none of fast, normal, slow"),
        ("timeout_s = 2.0", "timeout_s = 200", "profile.timeout_s", "200 is out of range 0.05 … 30"),
        ('health = "online"', 'health = "some"', "profile.health", "'some' is none of full, online"),
        ('quantity = "dim_pct"', 'quantity = "Dim pct"', "point.quantity", "'Dim pct' is not a word of small letters"),
        ('quantity = "dim_pct"', 'quantity = "dim.pct"', "point.quantity", "'dim.pct' is not a word of small letters"),
        ('quantity = "dim_pct"', 'quantity = "online"', "point.quantity", "quantity 'online' is there already"),
        ('quantity = "dim_pct"', 'quantity = "dim_w"', "point.unit", "wrong unit '%': the name 'dim_w' promises 'W'"),
        ('quantity = "dim_pct"\n', "", "point.quantity", "is missing (text)"),
        ("low = 0\nhigh = 100\nstale", "low = 100\nhigh = 0\nstale", "point.low", "low 100 is not below high 0"),
        ('ko = "조광률"\n', "", "point.ko", "is missing (text)"),
        ('at = { attribute = "dim" }', 'at = "dim"', "point.at", "must be a table"),
        ('at = { attribute = "dim" }', "scale = 0", "point.scale", "0 would make every value the same"),
        ('at = { attribute = "dim" }', "register = 7", "point.register", "unknown key"),
        ("failsafe = 80\n", "", "command.failsafe", "is missing (number)"),
        ("revert_s = 600\n", "", "command.revert_s", "is missing (number)"),
        ("hold_s = 3600\n", "", "command.revert_s", "without hold_s nothing is refreshed"),
        ("hold_s = 3600", "hold_s = 99999", "command.hold_s", "99999 is out of range 0 … 28800"),
        ("failsafe = 80", "failsafe = 800", "command.failsafe", "800.0 is out of range 0 … 100 (device 'lamp001'"),
        ('low = 0\nhigh = 100\nfailsafe', "failsafe", "command.quantity", "has no limits low and high"),
    ],
)
def test_a_profiles_mistake_is_told_once_with_its_line(site, old, new, key, reason):
    assert old in PROFILE
    profile = PROFILE.replace(old, new, 1)
    found = problems(site, profile=profile)
    if key == "command.quantity":
        key = "command.tag"
    told = [one for one in found if f" {key}: " in one]
    assert len(told) == 1, found
    assert reason in told[0]
    assert told[0].startswith("t/profiles/lamp.toml:")
    if new and new.partition(" =")[0] == key.rpartition(".")[2]:
        assert told[0].startswith(f"t/profiles/lamp.toml:{line(profile, new.splitlines()[0])}: ")


def test_a_unit_that_is_none_names_file_line_and_key(site):
    profile = PROFILE.replace('unit = "%"', 'unit = "percent"', 1)
    told = [one for one in problems(site, profile=profile) if one.startswith("t/profiles/lamp.toml:10: point.unit: ")]
    assert any("wrong unit 'percent': tags carry SI units" in one for one in told)


def test_a_quantity_twice_is_refused(site):
    profile = PROFILE.replace('quantity = "dim_setpoint_pct"', 'quantity = "dim_pct"')
    (found,) = problems(site, profile=profile)
    stands = line(profile, 'quantity = "dim_pct"', 1)
    assert found == f"t/profiles/lamp.toml:{stands}: command.quantity: quantity 'dim_pct' is there already"


def test_a_profile_without_its_table_says_so(site):
    assert "t/profiles/lamp.toml:1: profile: is missing (table)" in problems(site, profile="")


def test_a_profile_that_is_no_toml_is_the_only_problem(site):
    (found,) = problems(site, profile="[profile\n")
    assert found.startswith("t/profiles/lamp.toml:1: is not TOML")


def test_a_setpoint_of_a_profile_that_no_device_has_a_tag_for_is_told_once(site):
    setpoint = '[[setpoint]]\ntag = "control.{name}.dim_pct"\nfeedback_tag = "dim_pct"\nfailsafe = 80\nlease = "x"\n'
    found = problems(site, profile=PROFILE + setpoint)
    stands = line(PROFILE + setpoint, "control.{name}")
    where = f"t/profiles/lamp.toml:{stands}: setpoint.tag: missing tag 'control.lamp001.dim_pct'"
    assert f"{where} (device 'lamp001', and 11 more)" in found
    assert len(found) == 2


@pytest.mark.parametrize(
    ("path", "file", "place"),
    [
        (("point", 0, "at", "attribute"), "profiles/lamp.toml", ("point", 0, "at", "attribute")),
        (("params", "retries"), "profiles/lamp.toml", ("profile", "params", "retries")),
        (("params", "circuit"), "devices/street.toml", ("fleet", 0, "params", "circuit")),
        (("params",), "profiles/lamp.toml", ("profile", "params")),
        (("timeout_s",), "profiles/lamp.toml", ("profile", "timeout_s")),
        (("twin", "serial"), "devices/street.toml", ("fleet", 0, "twin", "serial")),
        ((), "devices/street.toml", ("fleet", 0)),
    ],
)
def test_every_key_of_a_device_is_found_where_it_stands(site, path, file, place):
    assert site().device("lamp002").place(path) == (f"t/{file}", place)
