"""The simulated cameras: how they turn, what they refuse, which faults they take."""

from __future__ import annotations

import asyncio

import pytest

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.soap import FaultError, Token, envelope, opened
from gwanje.io.sim.city.cameras import LOGIN, CamerasSim, twin_problem
from gwanje.io.sim.city.cameras_ptz import Turret
from gwanje.io.sim.city.cameras_soap import Camera, duration_s
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.faults import FaultError as MenuError

from ..onvif.rig import fleet


def test_a_turret_goes_where_it_is_sent_and_no_further():
    turret = Turret()
    turret.advance(NS_PER_S)
    turret.go({"pan": 0.3, "tilt": -5.0, "zoom": 0.5})
    turret.advance(NS_PER_S + NS_PER_S // 4)
    assert turret.moving
    assert turret.place == {"pan": pytest.approx(0.15), "tilt": pytest.approx(-0.15), "zoom": pytest.approx(0.125)}
    turret.advance(10 * NS_PER_S)
    assert (turret.place, turret.moving) == ({"pan": 0.3, "tilt": -1.0, "zoom": 0.5}, False)


@pytest.mark.parametrize(("timeout_s", "still"), [(1.0, True), (None, False)])
def test_a_move_ends_by_its_time_out_and_without_one_never(timeout_s, still):
    turret = Turret()
    turret.advance(NS_PER_S)
    turret.turn({"pan": 0.1, "tilt": 0.0, "zoom": 0.0}, NS_PER_S, timeout_s)
    turret.advance(3 * NS_PER_S)
    assert turret.moving is not still
    assert turret.place["pan"] == pytest.approx(0.06 if still else 0.12)


def asked(camera: Camera, clock: VirtualClock, body: str, operation: str, *, token: Token):
    _, data = camera.answer(envelope(body, token), f"{camera.path}/x", "h:1", clock.utc_ns(), clock.mono_ns())
    return opened(data, f"{operation}Response")


def test_tokens_that_are_old_repeated_or_wrong_are_refused():
    clock, camera = VirtualClock(), Camera("c", "/c", LOGIN)
    now = clock.utc_ns()
    good = Token(*LOGIN, now, b"1")
    assert asked(camera, clock, messages.get_information(), "GetDeviceInformation", token=good).tag
    for bad in (
        good, Token(*LOGIN, now - 6 * NS_PER_S, b"2"), Token(*LOGIN, now + 6 * NS_PER_S, b"3"),
        Token("operator", "x", now, b"4"), Token("admin", "simulated", now, b"5"),
    ):  # fmt: skip
        with pytest.raises(FaultError, match="NotAuthorized"):
            asked(camera, clock, messages.get_information(), "GetDeviceInformation", token=bad)


def test_a_pull_that_was_held_back_proved_its_sender_when_it_came():
    clock, camera = VirtualClock(), Camera("c", "/c", LOGIN)
    came_ns = clock.utc_ns()
    body = envelope(messages.get_information(), Token(*LOGIN, came_ns, b"1"))
    clock.advance_ns(10 * NS_PER_S)
    _, data = camera.answer(body, "/c/x", "h:1", clock.utc_ns(), clock.mono_ns(), came_ns)
    assert opened(data, "GetDeviceInformationResponse").tag
    with pytest.raises(FaultError, match="NotAuthorized"):
        asked(camera, clock, messages.get_information(), "GetDeviceInformation", token=Token(*LOGIN, came_ns, b"2"))


def test_pull_points_are_few_and_end():
    clock, camera = VirtualClock(), Camera("c", "/c", LOGIN)
    body = messages.create_pull_point(60)
    for number in range(8):
        asked(camera, clock, body, "CreatePullPointSubscription", token=Token(*LOGIN, clock.utc_ns(), bytes([number])))
    with pytest.raises(FaultError, match="TooManyPullPoints"):
        asked(camera, clock, body, "CreatePullPointSubscription", token=Token(*LOGIN, clock.utc_ns(), b"x"))
    clock.advance_ns(61 * NS_PER_S)
    asked(camera, clock, body, "CreatePullPointSubscription", token=Token(*LOGIN, clock.utc_ns(), b"y"))
    assert len(camera.subscriptions) == 1


def test_the_fault_menu_takes_what_makes_sense():
    async def scenario():
        devices, _ = fleet(2)
        sim = CamerasSim(devices, VirtualClock(), 1)
        for kind in sim.kinds:
            await sim.set_fault(CityFault("cam1", kind, 0.0, {}))
            assert set(sim.state("cam1")) == set(sim.state("cam2"))
        await sim.clear_fault("cam1")
        await sim.clear_fault("cam1")
        assert sim.cameras["cam1"].login == LOGIN
        assert sorted(sim.cameras["cam1"].turret.presets) == ["Preset1", "Preset2", "Preset3", "Preset4"]
        with pytest.raises(MenuError, match="delay_s"):
            await sim.set_fault(CityFault("cam1", "slow", 0.0, {"delay_s": 1e9}))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "params", "words"), [("dome", {}, "is not camera"), ("camera", {"x": 1}, "has no 'x'"),
                                  ("camera", {"ptz": 1}, "true or false"), ("camera", {"ptz": False}, "")]
)  # fmt: skip
def test_twins_are_checked(kind, params, words):
    problem = twin_problem(kind, params)
    assert words in problem
    assert bool(problem) is bool(words)


def test_durations_are_read_as_xml_has_them():
    assert [duration_s(one, None) for one in ("PT1.5S", "PT60S", "P1D", "", "PT-1S")] == [1.5, 60.0, None, None, None]
