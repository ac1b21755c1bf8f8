"""What the part io finds wrong with a site: each family's own check, in the right file, once for a whole fleet."""

import pytest
from large_site import large_site

from gwanje.core.site.check import check_site
from gwanje.core.site.config import load_site
from gwanje.core.site.devices import FAMILIES
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.io import config_check


def test_every_driver_has_a_check_of_its_own_words():
    assert set(config_check.FAMILY_CHECKS) == set(FAMILIES)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site of 30 lamps and five chargers, with one check that complains of what it is told to."""
    root = large_site(tmp_path / "large", 30, 5)
    complaints: list[tuple[str, tuple[str | int, ...], str]] = []

    def check(devices):
        for device in devices:
            for begins, path, reason in complaints:
                if device.name.startswith(begins):
                    yield device, path, reason.format(name=device.name)

    monkeypatch.setattr(config_check, "FAMILY_CHECKS", {"talq": check})
    return root, complaints


def test_a_problem_of_all_lamps_is_told_once_in_the_profile(site):
    root, complaints = site
    complaints.append(("lamp", ("point", 0, "at", "attribute"), "{name} has no such attribute"))
    (found,) = config_check.problems(load_site(root))
    assert found == (
        "profiles/streetlight.toml", ("point", 0, "at", "attribute"),
        "lamp0001 has no such attribute (device 'lamp0001', and 29 more)",
    )  # fmt: skip


def test_a_problem_of_one_device_is_told_where_it_stands(site):
    root, complaints = site
    complaints.append(("gateway", ("params", "hub"), "is not known"))
    complaints.append(("lamp0007", ("address",), "is too long"))
    assert config_check.problems(load_site(root)) == [
        ("devices/street.toml", ("device", 0, "params", "hub"), "is not known (device 'gateway')"),
        ("devices/street.toml", ("fleet", 0, "address"), "is too long (device 'lamp0007')"),
    ]


def test_the_check_command_names_file_and_line(site):
    root, complaints = site
    complaints.append(("lamp", ("point", 1, "at"), "is nowhere"))
    with pytest.raises(ConfigErrors) as caught:
        check_site(root)
    found = [str(one) for one in caught.value.problems if "is nowhere" in one.reason]
    text = (root / "profiles" / "streetlight.toml").read_text(encoding="utf-8").splitlines()
    stands = [number for number, one in enumerate(text, 1) if one.startswith("at = ")][1]
    assert found == [
        f"large/profiles/streetlight.toml:{stands}: point.at: is nowhere (device 'lamp0001', and 29 more)"
    ]


def test_a_simulated_device_listens_on_loopback_only(site):
    root, _ = site
    path = root / "devices" / "street.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"127.0.0.1"', '"192.168.1.9"'), encoding="utf-8")
    (found,) = config_check.problems(load_site(root))
    assert found[:2] == ("devices/street.toml", ("device", 0, "host"))
    assert "loopback only, not on '192.168.1.9'" in found[2]
