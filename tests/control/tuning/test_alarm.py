"""What the guard does by itself reaches the operators: from its event to an alarm that waits to be acknowledged."""

from pathlib import Path

import pytest
from tuning_rig import Rig, command

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


def raised(table, told):
    """Alarms that events of the control part raise."""
    for at, one in enumerate(told):
        event = Event("control", "control", one.class_name, at * S, at * S, one.ko, one.en, data=dict(one.data))
        table.event(event, at * S, at * S)
    table.apply(100)
    return [one for one in table.current() if one.alarm_id.startswith("tuning")]


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
