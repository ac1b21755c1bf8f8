"""What the guard does by itself reaches the operators: from its event to an alarm that waits to be acknowledged."""

from pathlib import Path

import pytest
from tuning_rig import Rig, command

from gwanje.control.tuning.taken_up import Told
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.bus.messages import Event
from gwanje.core.site.config import load_site

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
S = 1_000_000_000


@pytest.fixture(scope="module")
def site():
    return load_site(SITE)


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


@pytest.fixture
def table(site):
    return AlarmTable(site.alarms, site.event_alarms, site.tags, site.topology, site.places)


def raised(table, told, part="control", prefix=""):
    """Alarms that events of a part raise."""
    for at, one in enumerate(told):
        kind = f"{prefix}{one.class_name}"
        event = Event("control", part, kind, at * S, at * S, one.ko, one.en, data=dict(one.data))
        table.event(event, at * S, at * S)
    table.apply(100)
    return [one for one in table.current() if "tuning" in one.alarm_id]


def test_a_change_that_the_guard_rolls_back_is_an_alarm(rig, table):
    rig.go(5)
    rig.apply({"ki_per_s": 2.5}, degradations=0)
    rig.go(1)
    rig.degradations = 1
    rig.go(1)
    assert "tuning_rolled_back" in rig.classes()
    (alarm,) = raised(table, rig.told)
    assert alarm.state == "unack_active"
    assert (alarm.priority, alarm.text_ko, alarm.text_en) == (
        3, "제어: 감시 중인 파라미터 변경이 저절로 되돌려짐", "Control: a change of parameters on watch was rolled back"
    )  # fmt: skip


def test_what_a_person_takes_back_or_keeps_is_none(rig, table):
    rig.go(5)
    rig.apply({"ki_per_s": 2.5})
    rig.go(1)
    assert rig.desk.carry_out(command(0)) is None
    rig.go(1)
    assert "tuning_taken_back" in rig.classes()
    assert raised(table, rig.told) == []


def test_the_part_microgrid_has_an_alarm_of_its_own(table):
    told = [Told("tuning_rolled_back", "파라미터 변경 m1 되돌림", "change m1 is rolled back", {"change_set": 1})]
    (alarm,) = raised(table, told, "microgrid", "microgrid_")
    assert (alarm.alarm_id, alarm.priority, alarm.text_ko, alarm.text_en) == (
        "microgrid_tuning_rolled_back:microgrid", 3, "마이크로그리드 제어: 감시 중인 파라미터 변경이 저절로 되돌려짐",
        "Microgrid control: a change of parameters on watch was rolled back",
    )  # fmt: skip
