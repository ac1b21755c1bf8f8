"""The network's picture beside the simulated microgrid's truth: a day long, as an island, dark, with wrong meters."""

import numpy as np
import pytest
from plant_rig import FALSE_GOOD, Rig, model, settings

from gwanje.control.microgrid.estimation import suspicion
from gwanje.control.microgrid.estimation.gross_errors import GrossError
from gwanje.control.microgrid.estimation.picture import Mode
from gwanje.control.microgrid.estimation.suspicion import SuspicionState
from gwanje.core.tags.quality import Quality, is_bad, is_good
from gwanje.ext import microgrid_plant as kernel

K_SIGMAS = 4.0
BUSES = {one.id for one in settings().bus}
SIGMAS = 20.0


@pytest.fixture(scope="module")
def noon():
    return Rig(hour=10.5)


@pytest.fixture
def rig(noon):
    """One city for the tests that only lie: consistent again before each."""
    noon.wrong, noon.lost, noon.said = {}, set(), {}
    noon.turn(12)
    assert not noon.picture.named
    assert noon.picture.settled
    return noon


def all_is_well(rig):
    picture = rig.picture
    assert set(picture.voltages) == BUSES
    assert picture.chi2_ratio < 1.0
    assert (picture.named, picture.group, picture.switches, picture.unobservable) == ({}, (), (), ())
    assert rig.worst_sigmas() < K_SIGMAS
    for bus, (error, _) in rig.errors().items():
        if is_good(picture.voltages[bus].quality):
            assert abs(error) < FALSE_GOOD, bus


@pytest.mark.parametrize("hour", [0, 4, 8, 12, 16, 20])
def test_voltages_lie_within_their_sigmas_all_day_connected_and_islanded(hour):
    rig = Rig(hour)
    assert rig.turn(4).mode is Mode.CONNECTED
    all_is_well(rig)
    flow, system = rig.picture.flows, rig.plant.kernel.system
    total = sum(one[0].value for one in flow.values())
    sigma = np.sqrt(sum(one[0].sigma ** 2 for one in flow.values()))
    assert abs(total - system[kernel.S_IMPORT_W]) < K_SIGMAS * sigma
    assert rig.picture.losses.value == pytest.approx(rig.lost_w(), abs=300.0, rel=0.2)
    rig.open_breaker()
    assert rig.turn(4).mode is Mode.ISLANDED
    assert system[kernel.S_MODE] == kernel.ISLANDED
    all_is_well(rig)
    total = sum(one[0].value for one in rig.picture.flows.values())
    assert abs(total) < 1.0, "nothing flows out of an island"


def test_a_dark_city_is_dead_and_not_an_error():
    rig = Rig()
    rig.turn(2)
    rig.black()
    picture = rig.turn(2)
    assert picture.mode is Mode.DEAD
    assert rig.plant.kernel.system[kernel.S_MODE] == kernel.DEAD
    assert picture.voltages["homes_a"].value == 0.0
    assert is_good(picture.voltages["homes_a"].quality)
    assert picture.voltages["tie"].value == pytest.approx(1.0, abs=0.03)
    assert (picture.named, picture.switches, picture.unobservable) == ({}, (), ())
    rig.said = {"grid.breaker.closed": True}
    assert rig.turn().switches == ("breaker",), "no voltage behind a closed breaker that has some before it"


@pytest.mark.parametrize(
    "name",
    ["homes", "homes_ami", "homes_bay", "pv_roof", "pv_float", "feeder_jincheon_flow", "feeder_eumseong_flow",
     "tie_voltage", "bus_voltage", "feeder_homes_voltage"],
)  # fmt: skip
def test_a_meter_that_is_off_by_twenty_sigmas_is_named(rig, name):
    channel = next(one for one in model().channels if one.id == name)
    rig.wrong[name] = lambda value: value - SIGMAS * max(channel.sigma_floor, channel.sigma_share * abs(value))
    for _ in range(60):  # while a cloud passes, meters read a moment apart differ by as much
        picture = rig.turn()
        assert set(picture.named) <= {name}
        if picture.named:
            break
    assert list(picture.named) == [name]
    assert picture.group == ()
    assert picture.chi2_ratio > 1.0
    named = picture.named[name]
    assert named.value == pytest.approx(rig.wrong[name](rig.value(name)), rel=1e-6)
    assert abs(named.others - rig.value(name)) < 0.4 * abs(named.value - rig.value(name))
    assert rig.worst_sigmas() < K_SIGMAS, "the estimate does without it"


@pytest.mark.parametrize(
    "name",
    ["factory", "shops", "clinic", "homes", "heat_pump", "pv_roof", "pv_float", "wind1", "tie_flow", "tie_reactive",
     "feeder_eumseong_flow", "homes_ami"],
)  # fmt: skip
def test_a_wrong_sign_is_named_as_such(rig, name):
    if abs(rig.value(name)) < 30e3:
        pytest.fail(f"{name} is too small to say anything")
    rig.wrong[name] = lambda value: -value
    kinds = set()
    for _ in range(10):
        picture = rig.turn()
        kinds |= {why.kind for why in picture.named.values()}
    assert list(picture.named) == [name]
    assert GrossError.SIGN in kinds
    assert rig.worst_sigmas() < K_SIGMAS


def test_a_meter_that_stands_still_is_named_once_the_world_moves(rig):
    frozen = rig.value("pv_roof")
    rig.wrong["pv_roof"] = lambda _: frozen
    said, told, kinds = SuspicionState(), [], set()
    for _ in range(90):
        named = rig.turn().named
        kinds |= {why.kind for one, why in named.items() if one == "pv_roof"}
        said, news = suspicion.step(said, named, settings().general.persist_turns)
        told += news.begun
    assert set(told) == {"pv_roof"}, "what it is off by changes as clouds pass: nobody else is said in the meantime"
    assert GrossError.STUCK in kinds


@pytest.mark.parametrize(("tag", "name"), [
    ("jincheon.shops.closed", "shops"), ("jincheon.homes.closed", "homes"), ("eumseong.heat_pump.closed", "heat_pump"),
    ("jincheon.ev_site.closed", "ev_site"), ("jincheon.factory.closed", "factory"),
])  # fmt: skip
def test_a_load_switch_that_says_open_while_power_flows_is_named(rig, tag, name):
    rig.said = {tag: False}
    picture = rig.turn(2)
    assert picture.switches == (name,)
    assert picture.named == {}
    assert rig.worst_sigmas() < K_SIGMAS
    rig.said = {tag: None}
    assert rig.turn(2).switches == (), "an unknown position is no lie"
    assert rig.worst_sigmas() < K_SIGMAS


def test_a_load_that_is_switched_off_is_followed():
    rig = Rig(hour=11.0)
    rig.turn(3)
    rig.city.twins["shops"].controls["close_order"].put(2.0)
    for _ in range(4):
        picture = rig.turn()
        assert (picture.named, picture.switches) == ({}, ())
    assert rig.shown("jincheon.shops.closed") == 0.0
    assert rig.worst_sigmas() < K_SIGMAS


@pytest.mark.parametrize("islanded", [False, True])
def test_the_breaker_that_lies_is_named_and_an_unknown_one_is_found(islanded):
    rig = Rig(hour=4.0)
    rig.turn(2)
    if islanded:
        rig.open_breaker()
        rig.turn(4)
    where = Mode.ISLANDED if islanded else Mode.CONNECTED
    if islanded:
        rig.turn(20)  # until its angle has left the utility's
    rig.said = {"grid.breaker.closed": islanded}
    picture = rig.turn(2)
    assert (picture.mode, picture.switches) == (where, ("breaker",))
    rig.said = {"grid.breaker.closed": None}
    picture = rig.turn(2)
    assert (picture.mode, picture.switches) == (where, ())
    assert not is_good(picture.voltages["city"].quality), "nobody says which network this is"


def test_where_a_meter_is_missing_others_tell_or_the_bus_is_uncertain(rig):
    rig.lost = {"shops"}
    picture = rig.turn(2)
    assert picture.unobservable == (), "the feeder's meter and the others tell what is left"
    assert rig.worst_sigmas() < K_SIGMAS
    rig.lost = {"shops", "clinic", "factory"}
    picture = rig.turn(2)
    assert set(picture.unobservable) == {"clinic", "factory", "shops"}
    for bus in picture.unobservable:
        assert picture.voltages[bus].quality & Quality.UNCERTAIN
    assert picture.named == {}
    assert rig.worst_sigmas() < K_SIGMAS
    rig.lost = {one.id for one in model().channels if one.nominal_v}
    picture = rig.turn(2)
    assert set(picture.unobservable) == BUSES
    assert all(is_bad(one.quality) for one in picture.voltages.values()), "powers say nothing of a voltage"
    assert picture.mode is Mode.CONNECTED


def test_without_any_meter_nothing_is_known_and_nothing_breaks(rig):
    rig.lost = {one.id for one in model().channels}
    for said in ({}, dict.fromkeys(settings().switches())):
        rig.said = said
        picture = rig.turn(2)
        assert picture.mode is Mode.UNKNOWN
        assert set(picture.unobservable) == BUSES
        assert (picture.voltages, picture.named) == ({}, {})
    rig.lost, rig.said = set(), {}
    assert rig.turn(2).mode is Mode.CONNECTED


def test_reactive_power_that_was_ordered_is_in_the_picture():
    rig = Rig(hour=11.0)
    rig.turn(3)
    before = rig.picture.flows["jincheon_1"][1].value
    for _ in range(4):
        rig.city.twins["pv_roof_control"].controls["reactive_setpoint_var"].put(-200e3)
        rig.turn()
    row = rig.plant.unit_row["jincheon.pv_roof"]
    assert rig.plant.kernel.unit[row, kernel.U_Q_VAR] == pytest.approx(-200e3, rel=0.01)
    known = rig.picture.flows["jincheon_1"][1]
    assert known.value - before == pytest.approx(200e3, abs=K_SIGMAS * known.sigma)
    assert rig.worst_sigmas() < K_SIGMAS
    assert rig.picture.chi2_ratio < 0.5


def test_a_battery_that_jumps_accuses_nobody():
    """Half a megawatt in a quarter of a second, meters read at different moments."""
    rig = Rig(hour=9.0)
    rig.turn(5)
    for wanted in (400e3, -400e3):
        control = rig.city.twins["ess1"].setpoint_w
        control.value, control.enabled = wanted, True
        late = {name: rig.value(name) for name in ("feeder_jincheon_flow",)}
        rig.wrong = {name: (lambda _, value=value: value) for name, value in late.items()}
        control.renew()
        rig.turn()
        rig.wrong = {}
        for _ in range(3):
            control.renew()
            assert rig.turn().named == {}


def test_forged_values_do_not_stop_it(rig):
    rng = np.random.default_rng(5)
    for _ in range(40):
        wild = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e12, -1e12, 1.0], len(model().channels))
        chosen = rng.random(len(model().channels)) < rng.choice([0.1, 0.5, 1.0])
        rig.wrong = {
            one.id: (lambda _, value=value: value)
            for one, value, hit in zip(model().channels, wild, chosen, strict=True) if hit
        }  # fmt: skip
        picture = rig.turn()
        for known in picture.voltages.values():
            assert is_bad(known.quality) or np.isfinite(known.value)
