"""The live controller on a real tag store: laws, orders, requests, what a successor takes up, the shell."""

import logging
import math
import threading

import numpy as np
import pytest
from live_rig import CHUNGBUK, SITE, Part, Rig, S

from gwanje.control.lease import LeaseView
from gwanje.control.main import read_config
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.live.binding import BindingError, bind
from gwanje.control.microgrid.live.followed import Followed, LoopSeen
from gwanje.control.microgrid.live.lateness import Lateness, bucket, bucket_end_us
from gwanje.control.microgrid.live.main import SHED_FILE
from gwanje.control.microgrid.live.requests import FILE, Requests, usual
from gwanje.control.microgrid.live.ticker import Ticker
from gwanje.control.microgrid.modes.types import MODE_NAMES, Law, Mode
from gwanje.control.microgrid.settings import read_settings
from gwanje.core.authority.principal import Role
from gwanje.core.bus.messages import Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import PartContext, RunOptions
from gwanje.core.commands.messages import Command
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import Quality
from gwanje.ext.control_loop import LAWS
from gwanje.ext.reference.tie_line import ISLAND, RUN, TRACK


@pytest.fixture
def rig(tmp_path):
    found = Rig(tmp_path)
    found.go(1.5)
    return found


def test_connected_it_orders_forming_and_leaves_the_import_to_the_loop(rig):
    assert rig.controller.mode is Mode.CONNECTED
    assert rig.value("microgrid.state.law") == LAWS.index("tie")
    assert rig.value("control.ess1.forming_order") == 1.0
    assert rig.value("control.breaker.close_order") == 0.0, "nothing is said to the breaker"
    assert rig.value("control.homes.close_order") == 0.0
    assert rig.value("control.diesel1.start_order") == 2.0
    assert rig.value("control.ess1.frequency_setpoint_hz") == pytest.approx(60.0, abs=0.01)
    assert rig.value("control.factory.load_w_max_setpoint") == 1e6, "no limit is the device's own"
    assert rig.value("microgrid.ess1.discharge_wanted_w") == 2e4, "follows what the loop commands"
    rig.loop_w = 7e4
    rig.go(0.02)
    assert rig.value("microgrid.ess1.discharge_wanted_w") == 7e4
    assert rig.controller.tie.kernel.mode == RUN


def test_nothing_is_written_before_breaker_and_bus_are_known(tmp_path):
    rig = Rig(tmp_path)
    closed = rig.world.pop("grid.breaker.closed")
    rig.go(0.5)
    assert rig.controller.mode is None
    assert math.isnan(rig.value("microgrid.state.mode"))
    assert math.isnan(rig.value("control.ess1.frequency_setpoint_hz"))
    assert rig.value("control.ess1.forming_order") == 0.0
    rig.world["grid.breaker.closed"] = closed
    rig.go(0.02)
    assert rig.controller.mode is Mode.CONNECTED


def test_an_open_breaker_is_answered_in_the_same_period_from_what_is_commanded(rig):
    rig.loop_w = 9e4
    rig.go(0.1)
    rig.open_breaker()
    rig.go(0.01)
    assert rig.controller.law is Law.ISLAND
    assert rig.value("microgrid.state.law") == LAWS.index("island")
    assert rig.value("microgrid.ess1.discharge_wanted_w") == pytest.approx(9e4, abs=2e4), "no jump"
    assert rig.read("microgrid.ess1.discharge_wanted_w").quality == Quality.GOOD
    rig.loop_mode, rig.loop_w = ISLAND, -3e5  # what the loop does in an island is not followed
    rig.go(0.3)
    assert rig.value("microgrid.ess1.discharge_wanted_w") > 0.0
    rig.go(0.3)
    assert rig.value("microgrid.state.unplanned") == 1.0
    assert rig.value("microgrid.state.island_s") == pytest.approx(0.6, abs=0.2)


def test_what_the_utility_leaves_open_is_shed_by_orders_that_stay_long_enough(rig):
    rig.world["grid.tie.import_w"] = 2e6
    rig.loop_w = 0.0
    rig.go(1.2)
    assert rig.value("microgrid.power.armed_shed_w") > 5e5
    rig.open_breaker()
    rig.go(0.01)
    shed = [one.tag for one in rig.binding.commands if one.tag.endswith(".close_order") and rig.value(one.tag) == 2.0]
    assert len(shed) > 2
    assert "control.clinic.close_order" not in shed
    for tag in shed:
        name = next(one.name for one in rig.binding.commands if one.tag == tag).removesuffix("close_command")
        rig.world[f"{name}closed"] = 0.0
    rig.go(0.12)
    assert all(rig.value(one) == 2.0 for one in shed), "the drivers look every 50 ms"
    rig.go(0.3)
    assert all(rig.value(one) == 0.0 for one in shed), "done: nothing more is said"
    assert rig.value("microgrid.state.loads_off") == len(shed)


def test_without_a_lease_what_is_wanted_is_not_in_force(rig):
    rig.leased = False
    rig.go(0.05)
    assert rig.value("microgrid.state.lease") == 0.0
    assert rig.read("microgrid.ess1.discharge_wanted_w").quality == Quality.UNCERTAIN | Quality.BLOCKED
    assert math.isnan(rig.value("microgrid.tie.import_limit_w"))


def test_a_successor_begins_from_what_the_devices_hold(rig):
    rig.open_breaker()
    rig.world["jincheon.diesel1.running"], rig.world["jincheon.diesel1.generation_w"] = 1.0, 2.5e5
    rig.go(1.0)
    held = {
        "jincheon.ess1.frequency_setpoint_hz": 60.2, "jincheon.ess1.reactive_setpoint_var": 4e4,
        "jincheon.pv_roof.generation_w_max_setpoint": 1e4, "jincheon.diesel1.generation_setpoint_w": 2.4e5,
        "jincheon.factory.load_w_max_setpoint": 5e5, "jincheon.homes.closed": 0.0, "jincheon.shops.closed": 0.0,
    }  # fmt: skip
    rig.world |= held
    rig.loop_mode, rig.loop_w = ISLAND, 1.1e5
    rig.restart({"jincheon.homes": 7e4, "city.lamps": 1e4})
    rig.go(0.01)
    assert rig.controller.mode is Mode.ISLANDED
    assert rig.value("microgrid.state.unplanned") == 1.0, "its predecessor's tags still say so"
    assert rig.value("microgrid.ess1.discharge_wanted_w") == pytest.approx(1.1e5, abs=2e4)
    assert rig.value("control.ess1.frequency_setpoint_hz") == pytest.approx(60.2, abs=0.02)
    assert rig.value("control.ess1.reactive_setpoint_var") == pytest.approx(4e4, abs=1.5e4)
    assert rig.value("control.pv_roof.generation_w_max_setpoint") < 2e4
    assert rig.value("control.diesel1.start_order") == 1.0, "a machine that runs is run on"
    assert rig.value("control.diesel1.generation_setpoint_w") == pytest.approx(2.4e5, abs=1e4)
    assert rig.value("control.factory.load_w_max_setpoint") == pytest.approx(5e5, abs=7e4)
    assert rig.controller.supervisor.shed_loads == {"jincheon.homes": 7e4}, "the shops were opened by people"


def test_a_loop_that_is_not_seen_leaves_what_the_device_holds(rig):
    rig.loop_mode = -1
    rig.world["jincheon.ess1.discharge_setpoint_w"] = -1.5e4
    rig.go(1.5)
    assert rig.value("microgrid.ess1.discharge_wanted_w") == -1.5e4
    rig.loop_mode = TRACK
    rig.go(0.05)
    assert rig.value("microgrid.ess1.discharge_wanted_w") == -1.5e4


def test_a_loop_that_comes_back_in_an_island_relays_no_jump(rig):
    rig.loop_w = 9e4
    rig.go(0.1)
    rig.open_breaker()
    rig.go(0.2)
    assert rig.value("microgrid.ess1.discharge_wanted_w") > 5e4
    rig.loop_mode = TRACK
    rig.world["jincheon.ess1.discharge_setpoint_w"] = 0.0  # nobody streams: the device has gone to nothing
    rig.go(0.3)
    assert abs(rig.value("microgrid.ess1.discharge_wanted_w")) < 2e4, "from what the device holds, by one ramp at most"


def test_the_end_of_the_process_takes_back_its_orders(rig):
    rig.world["grid.tie.import_w"] = 2e6
    rig.loop_w = 0.0
    rig.go(1.2)
    rig.open_breaker()
    rig.go(0.01)
    orders = [one.tag for one in rig.binding.commands if one.tag.endswith("_order")]
    assert any(rig.value(one) for one in orders)
    rig.live.withdraw(rig.clock.mono_ns(), rig.clock.utc_ns())
    assert not any(rig.value(one) for one in orders)


def test_modes_have_the_names_that_the_tag_shows():
    states = SITE.tags.get("microgrid.state.mode").states
    assert list(states) == [MODE_NAMES[mode] for mode in Mode]


def test_values_told_seldom_are_fresh_until_their_tags_go_stale(rig):
    name = next(one for one in rig.controller.reads if one == "jincheon.storage1.online")
    assert rig.binding.patience_s[rig.controller.reads.index(name)] > 1.0
    value = rig.world.pop(name)
    assert value == 1.0
    rig.go(2.0)
    assert rig.controller.image.get(name) == 1.0
    meter = "jincheon.homes.load_w"
    rig.world.pop(meter)
    rig.go(0.5)
    assert math.isnan(rig.controller.image.get(meter)), "a fast meter has missed ten readings"


def asked(requests, point, value=1.0):
    command = Command("id", point, value, "", "minji", Role.OPERATOR, "", "test", 0, 0, 5 * S)
    return requests.carry_out(command)


class Asking:
    """Requests from another thread while the periods go on."""

    def __init__(self, rig, view=LeaseView()):  # noqa: B008 - frozen
        self.rig = rig
        self.view = view
        self.requests = Requests(rig.live, rig.controller.settings, rig.folder / FILE, lambda: self.view)

    def __call__(self, point, value=1.0):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(asked(self.requests, point, value)))
        thread.start()
        while thread.is_alive():
            self.rig.go(0.01)
            thread.join(0.001)
        return answers[0]


def test_requests_are_taken_or_refused_with_the_reason_in_both_languages(rig):
    ask = Asking(rig)
    refused = ask("microgrid.request.reconnect")
    assert "needs islanded" in refused.detail
    assert "'독립 운전' 상태에서만" in refused.detail
    assert ask("microgrid.request.island", 0.0) is not None
    assert ask("microgrid.request.island") is None
    rig.go(0.2)
    assert rig.controller.mode is Mode.ISLANDING
    assert rig.value("microgrid.request.island") == 1.0
    assert rig.value("microgrid.state.law") == LAWS.index("drive_tie_to_zero")
    assert ask("microgrid.request.cancel") is None
    rig.go(0.2)
    assert rig.controller.mode is Mode.CONNECTED
    assert ask("microgrid.nothing.here") is not None


def test_without_lease_or_with_a_breaker_that_people_hold_no_transition_is_taken(rig):
    ask = Asking(rig, LeaseView(("control.ess1.forming_order",)))
    assert "give it back" in ask("microgrid.request.island").detail
    ask.view = LeaseView((), "읽기 전용", "read-only")
    rig.leased = False
    rig.go(0.05)
    assert "read-only" in ask("microgrid.request.island").detail


def test_limits_narrow_and_are_kept_for_a_successor(rig):
    ask = Asking(rig)
    assert ask("microgrid.limit.import_w", 3e5) is None
    rig.go(0.2)
    assert rig.value("microgrid.tie.import_limit_w") == 3e5
    assert rig.value("microgrid.limit.import_w") == 3e5
    assert ask("microgrid.limit.demand_cap_w", 10.0) is not None, "no cap"
    assert rig.live.chosen.demand_cap_w == rig.controller.settings.demand.cap_w
    rig.restart()
    Asking(rig)
    rig.go(0.2)
    assert rig.value("microgrid.tie.import_limit_w") == 3e5


def test_the_wish_to_be_ready_is_shown_and_kept_for_a_successor(rig):
    ask = Asking(rig)
    rig.go(1.5)
    assert rig.value("microgrid.request.ready") == 0.0
    assert ask("microgrid.request.ready", 1.0) is None
    rig.go(0.2)
    assert rig.value("microgrid.request.ready") == 1.0
    assert rig.value("microgrid.power.ready_short_w") >= 0.0
    rig.restart()
    Asking(rig)
    rig.go(0.2)
    assert rig.value("microgrid.request.ready") == 1.0


def test_a_loop_that_hangs_is_told_to_who_asks(rig, monkeypatch):
    monkeypatch.setattr("gwanje.control.microgrid.live.requests.ANSWER_S", 0.01)
    requests = Requests(rig.live, rig.controller.settings, rig.folder / FILE, LeaseView)
    assert "does not answer" in asked(requests, "microgrid.request.island").detail
    assert len(rig.live.asks) == 1
    rig.go(1.0)
    assert not rig.live.asks
    assert rig.controller.mode is Mode.CONNECTED, "what was refused is not done later"


def test_a_limit_that_cannot_be_kept_does_not_hold(rig, monkeypatch):
    ask = Asking(rig)
    (rig.folder / f"{FILE}.new").mkdir()
    assert ask("microgrid.limit.import_w", 3e5) is not None
    rig.go(0.2)
    assert rig.live.chosen.import_w == rig.controller.settings.site.rating_w


@pytest.mark.parametrize(
    "content", ["{", '{"import_w": NaN, "demand_cap_w": 1e6, "reactive_import_var": 0}', '{"a": 1}']
)
def test_choices_that_cannot_be_read_are_told_and_the_sites_own_hold(rig, content):
    (rig.folder / FILE).write_text(content)
    requests = Requests(rig.live, rig.controller.settings, rig.folder / FILE, LeaseView)
    assert requests.unread
    assert rig.live.chosen == usual(rig.controller.settings)


def test_without_the_lease_the_law_is_shown_but_not_obeyed(rig):
    rig.go(0.2)
    at = SITE.tags.index("microgrid.state.law")
    assert rig.store.read(at, rig.clock.mono_ns()).quality & ~int(Quality.SIMULATED) == 0
    rig.leased = False
    rig.go(0.05)
    sample = rig.store.read(at, rig.clock.mono_ns())
    assert sample.quality & Quality.BLOCKED
    assert sample.quality & Quality.UNCERTAIN


def test_a_site_without_the_tags_is_told_what_is_missing(rig):
    controller = MicrogridController(read_settings(CHUNGBUK))
    controller.writes = (*controller.writes, "jincheon.nobody.close_command")
    ctx = PartContext("control", SITE, SITE.tags, *[None] * 4, RunOptions(), 0, logging.getLogger("test"), None)
    with pytest.raises(BindingError, match=r"control\.nobody\.close_order"):
        bind(SITE, read_config(ctx), controller)


def test_a_battery_of_its_own_goes_back_to_its_target_slowly():
    settings = read_settings(CHUNGBUK)
    seen = LoopSeen(commanded_w=[1.0, 2.0, math.nan])
    inner = MicrogridController(settings).tie.kernel
    followed = Followed(inner, seen, (True, True, False), settings)
    n_meters = len(settings.load) + len(settings.source) + len(settings.generator)
    battery = np.tile([0.0, 1.0, 0.0, 0.9, 1.0, 0.0, 1.0, 1e5, 1e5], (3, 1))
    out = np.zeros(3)
    followed.step(0.0, True, np.array([0.0, 1.0, 0.0]), 1, np.zeros((n_meters, 3)), battery, 0.02, out)
    assert out[:2].tolist() == [1.0, 2.0]
    assert out[2] == pytest.approx(0.4 * 200e3 * 3600 / 28_800)
    battery[2, 4] = 0.0
    followed.step(0.0, True, np.array([0.0, 1.0, 0.0]), 1, np.zeros((n_meters, 3)), battery, 0.02, out)
    assert out[2] == 0.0


def test_lateness_is_bucketed_as_in_the_compiled_loop():
    for late_us in (0, 1, 15, 16, 31, 32, 33, 100, 12_345, 10**7):
        at = bucket(late_us)
        assert late_us < bucket_end_us(at) <= max(late_us * 1.07, late_us + 1)
    late = Lateness()
    assert math.isnan(late.quantile_us(0.5))
    skipped = [late.add(one, 10_000_000) for one in (5_000, 40_000, 25_000_000)]
    assert skipped == [0, 0, 2]
    assert (late.ticks, late.lost, late.max_us) == (3, 2, 25_000.0)
    assert late.quantile_us(1.0) == 25_000.0
    assert late.quantile_us(0.3) == 6.0


@pytest.fixture
def part(rig):
    found = Part(rig)
    yield found
    found.close()


def test_the_shell_publishes_tags_and_tells_once_what_is_missing(part):
    part.keeper.step(True)
    heard = part.go(1.2)
    scans = [one for one in heard if isinstance(one, Scan)]
    assert len(scans) == 12
    ids = set(scans[0].ids.tolist())
    assert SITE.tags.index("control.ess1.forming_order") in ids
    assert SITE.tags.index("microgrid.loop.late_p99_us") in ids
    assert SITE.tags.index("microgrid.loop.late_p99_us") not in set(scans[1].ids.tolist())
    assert "microgrid_realtime_refused" in {one.class_name for one in heard if isinstance(one, Event)}
    part.rig.leased = False
    part.keeper.view = LeaseView((), "코어 없음", "the core is gone")
    told = [one for one in part.go(3.0) if isinstance(one, Event)]
    assert [one.class_name for one in told] == ["microgrid_lease_missing"]
    assert "the core is gone" in told[0].text_en
    assert "코어 없음" in told[0].text_ko
    part.rig.leased = True
    part.keeper.view = LeaseView(tuple(part.rig.binding.lease_points[1:]))
    told = {one.class_name: one for one in part.go(5.0) if isinstance(one, Event)}
    assert set(told) == {"microgrid_lease_missing_ended", "microgrid_orders_withheld"}
    assert part.rig.binding.lease_points[0] in told["microgrid_orders_withheld"].text_en


def test_what_the_controller_tells_becomes_events_and_what_was_shed_is_kept(part):
    part.rig.world["grid.tie.import_w"] = 2e6
    part.go(1.5)
    part.rig.open_breaker()
    told = [one.class_name for one in part.go(0.5) if isinstance(one, Event)]
    assert "microgrid_shed" in told
    kept = StateFile(part.rig.folder / SHED_FILE, 10_000).load()
    assert kept == part.rig.controller.supervisor.shed_loads
    assert kept


@pytest.fixture
def successor(tmp_path):
    StateFile(tmp_path / SHED_FILE, 10_000).save({"jincheon.homes": 7e4})
    found = Part(Rig(tmp_path))
    yield found
    found.close()


def test_what_was_shed_before_stands_until_it_is_taken_up_and_not_longer(successor, tmp_path):
    part = successor
    closed = part.rig.world.pop("grid.breaker.closed")
    part.go(0.5)
    assert StateFile(tmp_path / SHED_FILE, 10_000).load() == {"jincheon.homes": 7e4}, "nothing is known yet"
    part.rig.world["grid.breaker.closed"] = closed
    part.go(0.5)
    assert StateFile(tmp_path / SHED_FILE, 10_000).load() == {}, "it was found closed"


def test_a_folder_that_takes_nothing_is_told_once_and_ends_no_controller(part, monkeypatch):
    part.go(0.2)
    monkeypatch.setattr(part.shed, "keep", lambda _: "No space left on device")
    told = [one for one in part.go(0.5) if isinstance(one, Event)]
    found = [one for one in told if one.class_name == "microgrid_shed_not_kept"]
    assert len(found) == 1
    assert "No space" in found[0].text_ko


def test_the_ticker_counts_what_it_sleeps_through(rig):
    ticker = Ticker(rig.clock, rig.live, 0.01)
    ticker.run(3)
    assert (ticker.lateness.ticks, ticker.lateness.lost) == (3, 0)
    rig.clock.advance_ns(35_000_000)
    ticker.run(2)
    assert ticker.lateness.lost == 2
    shown = ticker.figures(math.nan, fifo=True)
    assert shown["microgrid.loop.ticks"] == 5.0
    assert set(shown) <= {tag.name for tag in SITE.tags}
