"""Commands on their way into a device: switching once, manual set-points, and what is too late."""

import asyncio
import contextlib
import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gwanje.core.authority.principal import Role
from gwanje.core.clock import SystemClock
from gwanje.core.commands.messages import Command
from gwanje.core.commands.owner import seal
from gwanje.core.site.config import Setpoint
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.command_service import CommandService
from gwanje.io.field.errors import InvalidReplyError
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.sunspec import point_address
from gwanje.io.field.orders import Order

from ...left_orders import Told, leave, opened
from . import fakes
from .fakes import ENABLE, ESS_POINTS, Ears, MemoryLink, device, ess_image, make_driver, run, setpoint, word
from .test_driver import names, running

S = 1_000_000_000
SECRET = b"of this run"
WSET, ENA = point_address(704, "WSet")[0], point_address(704, "WSetEna")[0]
MANUAL = "a.ess.manual_w"
TAGS = TagTable.build([*fakes.TAGS, Tag(MANUAL, "W", "field", "setpoint", low=-500_000, high=500_000)])
BACK, WISH = TAGS.index(MANUAL), TAGS.index("control.ess.setpoint_w")


@pytest.fixture(autouse=True)
def tags_with_the_command(monkeypatch):
    monkeypatch.setattr(fakes, "TAGS", TAGS)


def manual(hold_s: float = 3600.0, revert_s: float = 4.0) -> Setpoint:
    enable = ENABLE if hold_s else ()
    failsafe = 0.0 if hold_s else math.nan
    return Setpoint(MANUAL, MANUAL, 1.0, failsafe, "", revert_s, enable, model=704, name="WSet", hold_s=hold_s)


def battery(ears: Ears, link: MemoryLink, one: Setpoint, clock=None, kept=NOTHING_KEPT):
    return make_driver(replace(device(ESS_POINTS, [setpoint()]), commands=(one,)), link, ears, clock, kept)


class Reports:
    """What became of commands."""

    def __init__(self, ears: Ears) -> None:
        self.told: list[tuple[str, str, str]] = []
        self._ears = ears

    def __call__(self, command_id: str, outcome: str, _code: str, detail: str) -> None:
        self.told.append((command_id, outcome, detail))
        self._ears._heard.set()


class Served:
    """The service of one driver, asked as the core asks."""

    def __init__(self, ears: Ears, driver, tell, clock=None, read_only: bool = False) -> None:
        self._clock = clock or SystemClock()
        self.service = CommandService("field", [driver], tell, self._clock, SECRET, TAGS, ears, read_only=read_only)

    def answer(self, one: Command) -> dict[str, Any]:
        return self.service.answer(seal(SECRET, "field", one, self._clock.mono_ns()))


def command(value: float = 70_000.0, command_id: str = "c1", point: str = MANUAL, life_s: float = 5.0) -> Command:
    now = SystemClock().mono_ns()
    return Command(command_id, point, value, "", "kim", Role.OPERATOR, "", "r", now, 0, now + round(life_s * S))


def shown(ears: Ears, value: float) -> bool:
    return ears.latest.get(BACK, (math.nan,))[0] == value


@contextlib.asynccontextmanager
async def commanded():
    """A battery that is read, and the service that takes its manual set-point."""
    ears, link = Ears(), MemoryLink(ess_image())
    driver, reports = battery(ears, link, manual()), Reports(ears)
    service = Served(ears, driver, reports)
    async with running(driver):
        await ears.until(lambda: driver.health.reads > 3)
        yield ears, link, driver, reports, service


def test_a_command_is_taken_at_once_written_and_read_back():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = battery(ears, link, manual(hold_s=0.0, revert_s=0.0))
        reports = Reports(ears)
        service = Served(ears, driver, reports)
        assert service.answer(command())["code"] == "refused_by_owner", "not connected yet"
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            assert service.answer(command())["outcome"] == "accepted"
            await ears.until(lambda: reports.told)
            assert shown(ears, 70_000.0)
            assert service.answer(command(command_id="c2"))["outcome"] == "accepted"
            await ears.until(lambda: len(reports.told) == 2)
        assert [one[1] for one in reports.told] == ["accepted", "accepted"]
        assert len(link.writes) == 2, "a switch is written again: it may have moved by itself"

    run(scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"point": "x.y.z"}, "unknown_point"), ({"point": "a.ess.discharge_w"}, "unknown_point")],
)
def test_what_no_device_takes_is_refused_with_the_reason(changes, code):
    ears = Ears()
    driver = battery(ears, MemoryLink(ess_image()), manual())
    service = Served(ears, driver, lambda *_: None)
    answer = service.answer(command(**changes))
    assert (answer["outcome"], answer["code"]) == ("refused", code)
    assert changes["point"] in answer["detail"]
    assert service.service.answer(command().to_message())["code"] == "not_from_core"
    assert Served(ears, driver, lambda *_: None, read_only=True).answer(command())["code"] == "read_only"


def test_a_late_or_repeated_command_never_reaches_the_device():
    async def scenario():
        async with commanded() as (ears, link, driver, _reports, service):
            late = replace(command(), issued_mono_ns=1, expires_mono_ns=2)
            assert service.answer(late)["outcome"] == "expired"
            told = []
            order = Order(late, lambda outcome, *_: told.append(outcome))
            assert driver.command(order) == "", "as if it had expired on its way through the driver"
            await ears.until(lambda: driver.health.reads > 20)
            assert told == ["expired"]
            assert link.writes == []
            once = command()
            assert service.answer(once)["outcome"] == "accepted"
            assert service.answer(once)["code"] == "replayed"

    run(scenario)


def test_a_device_that_refuses_or_ignores_is_reported():
    async def scenario():
        async with commanded() as (ears, link, _driver, reports, service):
            link.ignore_writes = True
            service.answer(command())
            await ears.until(lambda: reports.told)
        assert reports.told[0][1:] == ("refused", "the device holds 0")

    run(scenario)


def test_a_manual_set_point_is_refreshed_written_on_change_and_ended():
    class Fast(SystemClock):
        """A clock of which the test can skip hours."""

        ahead = 0

        def mono_ns(self):
            return super().mono_ns() + self.ahead

    async def scenario():
        ears, link, clock = Ears(), MemoryLink(ess_image()), Fast()
        driver, reports = battery(ears, link, manual(), clock), Reports(ears)
        service = Served(ears, driver, reports, clock)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            service.answer(command())
            await ears.until(lambda: reports.told and word(link, ENA) == 1)
            n = len(link.writes)
            service.answer(command(command_id="same"))
            await ears.until(lambda: len(reports.told) == 2)
            assert len(link.writes) == n, "an identical set-point is not written again"
            clock.ahead += round(2.1 * S)
            await ears.until(lambda: len(link.writes) > n)
            assert [offset for offset, _ in link.writes[n:]].count(fakes.ESS_704 + WSET) == 1, "refreshed at half time"
            clock.ahead += 3600 * S
            await ears.until(lambda: word(link, ENA) == 0 and shown(ears, 0.0))
            await ears.until(lambda: "manual_ended" in names(ears))

    run(scenario)


def test_a_manual_set_point_stands_before_the_lease_until_the_point_is_given_back():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver, reports = battery(ears, link, manual()), Reports(ears)
        service = Served(ears, driver, reports)
        ears.samples[WISH] = Sample(-5_000.0, 0, 0, 0)
        covered = {WISH: SystemClock().mono_ns() + 10**13}
        ears.covered = dict(covered)
        async with running(driver):
            await ears.until(lambda: ears.latest.get(fakes.BACK, (0,))[0] == -5_000.0)
            service.answer(command())
            await ears.until(lambda: reports.told)
            reads = driver.health.reads
            await ears.until(lambda: driver.health.reads > reads + 20)
            assert shown(ears, 70_000.0), "the lease covers it still, but a person has it"
            ears.covered = {}
            reads = driver.health.reads
            await ears.until(lambda: driver.health.reads > reads + 20)
            assert shown(ears, 70_000.0)
            ears.covered = dict(covered)
            await ears.until(lambda: shown(ears, -5_000.0))
            assert names(ears) == ["manual_ended"]

    run(scenario)


def test_a_danger_tag_ends_a_manual_set_point_and_stops_commands():
    async def scenario():
        async with commanded() as (ears, link, _driver, reports, service):
            service.answer(command())
            await ears.until(lambda: reports.told)
            ears.covered = {BACK: -1}
            await ears.until(lambda: word(link, ENA) == 0 and shown(ears, 0.0))
            answer = service.answer(command(command_id="c2"))
            assert answer["code"] == "safety_tag"
            assert "danger" in answer["detail"]

    run(scenario)


def test_a_lost_connection_gives_up_what_waits_and_takes_the_set_point_up_again():
    async def scenario():
        async with commanded() as (ears, link, _driver, reports, service):
            service.answer(command())
            await ears.until(lambda: reports.told)
            link.fail = InvalidReplyError("test")
            service.answer(command(1.0, "c2"))
            await ears.until(lambda: len(reports.told) == 2)
            assert reports.told[1][1] in ("timed_out", "refused")
            link.image[fakes.ESS_704 + ENA] = 0
            link.fail = None
            await ears.until(lambda: word(link, ENA) == 1 and shown(ears, 70_000.0))

    run(scenario)


def test_the_switch_is_turned_off_although_the_failsafe_is_refused():
    class Stubborn(MemoryLink):
        """Takes no set-point of zero."""

        async def write(self, address, registers, *, until_mono_ns=0):
            if address - self.base == fakes.ESS_704 + WSET and not any(registers):
                self.writes.append((address - self.base, tuple(registers)))
                raise DeviceExceptionError(3)
            await super().write(address, registers)

    async def scenario():
        ears, link = Ears(), Stubborn(ess_image())
        driver = battery(ears, link, manual())
        ears.samples[WISH] = Sample(9_000.0, 0, 0, 0)
        ears.covered = {WISH: SystemClock().mono_ns() + 10**13}
        async with running(driver):
            await ears.until(lambda: word(link, ENA) == 1)
            ears.covered = {}
            await ears.until(lambda: word(link, ENA) == 0)
            await ears.until(lambda: "setpoint_refused" in names(ears))
            assert word(link, WSET + 1) == 9_000, "what it holds is off"

    run(scenario)


def test_of_one_point_only_the_newest_waits():
    ears = Ears()
    driver = battery(ears, MemoryLink(ess_image()), manual())
    driver.health.state = type(driver.health.state).ONLINE
    told: list[str] = []

    async def scenario():
        for number in range(3):
            tell = partial(lambda n, *words: told.append(" ".join((n, *words))), str(number))
            driver.command(Order(command(command_id=f"c{number}"), tell))
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert told == [f"{n} refused superseded c{n + 1}" for n in (0, 1)]


def test_a_manual_set_point_outlives_a_killed_part_until_its_own_end_or_a_program_has_it_again(tmp_path):
    async def scenario():
        told, link = Told(), MemoryLink(ess_image())
        ears, kept = Ears(), opened(tmp_path, TAGS, [MANUAL], told)
        driver, reports = battery(ears, link, manual(), kept=kept), Reports(ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            Served(ears, driver, reports).answer(command())
            await ears.until(lambda: reports.told)
        kept.close()
        link.image[fakes.ESS_704 + ENA] = 0  # its own timer has run out
        ears, kept = Ears(), opened(tmp_path, TAGS, [MANUAL], told)
        driver = battery(ears, link, manual(), kept=kept)
        kept.tell()
        async with running(driver):
            await ears.until(lambda: word(link, ENA) == 1 and shown(ears, 70_000.0))
            assert told.classes() == ["orders_taken_up"]
            ears.samples[WISH] = Sample(-5_000.0, 0, 0, 0)
            ears.covered = {WISH: SystemClock().mono_ns() + 10**13}
            await ears.until(lambda: shown(ears, -5_000.0))
            assert names(ears) == ["manual_ended"]
        kept.close()
        assert opened(tmp_path, TAGS, [MANUAL]).of(MANUAL) is None, "it was given back"

    run(scenario)


@pytest.mark.parametrize(("life_s", "barred"), [(1e-6, ()), (60.0, (MANUAL,))])
def test_a_set_point_that_is_over_or_barred_is_not_taken_up(tmp_path, life_s, barred):
    async def scenario():
        leave(tmp_path, TAGS, {MANUAL: 70_000.0}, life_s)
        ears, link, told = Ears(), MemoryLink(ess_image()), Told()
        driver = battery(ears, link, manual(), kept=opened(tmp_path, TAGS, [MANUAL], told, barred=barred))
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 10)
        assert link.writes == []

    run(scenario)


def test_a_device_that_refuses_what_it_held_before_is_told_as_lost(tmp_path):
    async def scenario():
        leave(tmp_path, TAGS, {MANUAL: 70_000.0})
        ears, link, told = Ears(), MemoryLink(ess_image()), Told()
        link.ignore_writes = True
        kept = opened(tmp_path, TAGS, [MANUAL], told)
        driver = battery(ears, link, manual(), kept=kept)
        kept.tell()
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 20 and "setpoint_refused" in names(ears))
        assert told.classes() == ["orders_taken_up", "order_lost"]

    run(scenario)
