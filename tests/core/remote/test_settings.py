"""The table [remote]: where to listen, and that nothing may without keys."""

import shutil
from pathlib import Path

import pytest

from gwanje.core.authority.keys import PUBLIC_FILE, SiteKeys
from gwanje.core.remote.settings import PUBLISH_PORT, REQUEST_PORT, RemoteSettings
from gwanje.core.site.check import check_site
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

CHUNGBUK = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "configs" / "chungbuk"
    shutil.copytree(CHUNGBUK, root)

    def add(text):
        with (root / "site.toml").open("a", encoding="utf-8") as file:
            file.write(text)
        return root

    return add


def test_the_default_site_does_not_listen(site):
    loaded = load_site(site(""))
    assert loaded.remote is None
    assert "remote" not in loaded.parts


def test_a_table_brings_the_part(site):
    loaded = load_site(site('\n[remote]\nlisten = "10.1.0.5"\n'))
    assert loaded.remote == RemoteSettings("10.1.0.5", PUBLISH_PORT, REQUEST_PORT, ("scan", "past", "event", "alarm"))
    assert "remote" in loaded.parts
    assert "system.part_remote.state" in loaded.tags


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "listen: is missing"),
        ('listen = "here"', "no IPv4 address"),
        ('listen = "127.0.0.1"\npublish_port = 0', "out of range"),
        ('listen = "127.0.0.1"\npublish_port = 5000\nrequest_port = 5000', "publish_port already"),
        ('listen = "127.0.0.1"\ntopics = [""]', "no topic"),
        ('listen = "127.0.0.1"\nkeys = "none"', "unknown key"),
    ],
)
def test_wrong_tables_are_named(site, text, reason):
    with pytest.raises(ConfigErrors) as found:
        load_site(site(f"\n[remote]\n{text}\n"))
    assert any(reason in str(one) for one in found.value.problems)


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_nothing_may_listen_without_keys_and_the_checker_says_where(site, tmp_path, listen):
    root = site(f'\n[remote]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigErrors) as found:
        check_site(root, tmp_path / "data")
    (problem,) = found.value.problems
    assert problem.line == len((root / "site.toml").read_text(encoding="utf-8").splitlines())
    assert "gwanje keys init" in str(problem)
    SiteKeys.create(tmp_path / "data" / "chungbuk" / "security", 1)
    assert check_site(root, tmp_path / "data").remote.listen == listen
    (tmp_path / "data" / "chungbuk" / "security" / PUBLIC_FILE).chmod(0o644)
    with pytest.raises(ConfigErrors, match="open to others"):
        check_site(root, tmp_path / "data")
