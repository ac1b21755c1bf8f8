"""A file that cannot be read is named alone: what it leaves out is no error of the others."""

import shutil
from pathlib import Path

import pytest

from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

CHUNGBUK = Path(__file__).resolve().parents[2] / "configs" / "chungbuk"


def test_one_syntax_error_is_one_problem(tmp_path):
    site = tmp_path / "chungbuk"
    shutil.copytree(CHUNGBUK, site)
    devices = site / "devices" / "energy.toml"
    devices.write_text(devices.read_text(encoding="utf-8").replace("port = ", "port = = ", 1), encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load_site(site)
    assert len(caught.value.problems) == 1
    assert "is not TOML" in str(caught.value)
    assert caught.value.problems[0].line > 1
