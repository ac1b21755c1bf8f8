"""The description of a microgrid: wrong keys are named, feeders become buses, vehicles leave with their energy."""

from pathlib import Path

import numpy as np
import pytest

from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.io.sim.microgrid.description import FILE, Description, Feeder, Transformer, read
from gwanje.io.sim.microgrid.network import build
from gwanje.io.sim.microgrid.vehicles import ChargingSite
from gwanje.io.sim.series import CityData

SITE = Path(__file__).parents[4] / "configs" / "chungbuk"


def written(folder, change):
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    text = (SITE / FILE).read_text(encoding="utf-8")
    for old, new in change:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return folder


def test_the_site_reads():
    told = read(SITE)
    assert [one.device for one in told.ess] == ["jincheon.ess1", "eumseong.ess2", "jincheon.storage1"]
    assert len(told.load) == 10


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ([("close_s = 0.06", "close_s = -1")], "connection.close_s: -1 is out of range"),
        ([("close_s = 0.06", "clsoe_s = 1")], "connection.clsoe_s: unknown key"),
        ([('kind = "27"', 'kind = "28"')], "relay.kind: '28' is none of 27, 59"),
        ([("rated_w = 500_000\n", "")], "ess.rated_w: is missing"),
        ([('device = "eumseong.ess2"', 'device = "jincheon.ess1"')], "ess.device: 'jincheon.ess1' is there twice"),
        ([('buses = ["factory.*"]', "buses = [3]")], "load.buses: must be an array of texts"),
        ([('buses = ["factory.*"]\n', "")], "load.buses: is missing or empty"),
        ([("z = 0.2", "z = 0.9")], "load.z: z + i = 1.1 is more than 1"),
        ([("can_form = true", "can_form = 1")], "ess.can_form: must be true or false"),
        ([("[island]", "[island")], "is not TOML"),
    ],
)
def test_wrong_keys_are_named(tmp_path, change, named):
    with pytest.raises(ConfigErrors) as raised:
        read(written(tmp_path, change))
    assert named in str(raised.value)
    assert str(raised.value).startswith(f"{FILE}:")


def test_everything_wrong_is_told_at_once(tmp_path):
    with pytest.raises(ConfigErrors) as raised:
        read(written(tmp_path, [("close_s = 0.06", "close_s = -1"), ("black_s = 1.0", "blakc_s = 1.0")]))
    assert len(raised.value.problems) == 2


def test_feeders_and_transformers_become_buses():
    buses = build(
        Description(
            feeder=(Feeder(name="a", sections=3),),
            transformer=(Transformer(name="t", at="a.2", sections=4, lines=2),),
        )
    )
    parents = {name: buses.names[up] if up >= 0 else "" for name, up in zip(buses.names, buses.parent, strict=True)}
    assert parents == {
        "utility": "", "tie": "utility", "city": "tie", "a.1": "city", "a.2": "a.1", "a.3": "a.2", "t.0": "a.2",
        "t.1": "t.0", "t.2": "t.0", "t.3": "t.1", "t.4": "t.2",
    }  # fmt: skip
    assert (buses.parent[1:] < np.arange(1, len(buses.names))).all()
    assert abs(complex(buses.r[1], buses.x[1])) == pytest.approx(1 / 150)
    assert buses.places("t.*") == sorted(buses.places("t.*"))
    with pytest.raises(KeyError):
        buses.places("nobody")
    with pytest.raises(ConfigErrors, match="no bus 'b'"):
        build(Description(transformer=(Transformer(name="t", at="b"),)))


@pytest.mark.parametrize(("share", "stranded"), [(1.0, False), (0.3, True)])
def test_nobody_is_stranded_unless_starved(share, stranded):
    """Two days: a site that gets what it asks for serves everybody, one that gets a third does not, and says so."""
    site = ChargingSite(27, 11e3, 70.0, CityData.load(SITE / "data"), [1, 2], 0.0)
    demand_w, needed_wh = 0.0, 0.0
    for minute in range(2 * 1440):
        before_wh = site.needed_wh
        demand_w = site.advance(60.0 * minute, share * demand_w / 60.0)
        needed_wh = max(needed_wh, before_wh)
    assert site.departed > 80
    assert (site.stranded > 0) == stranded
    assert needed_wh > 0.0
