"""What may be written: one phase, one pattern, the timer. Two greens in conflict cannot even be asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_rig import signal_device

from gwanje.io.field.ntcip import ber, objects, requests, snmp
from gwanje.io.field.ntcip.phases import parse_matrix

MATRIX = parse_matrix(signal_device().params)
WRITABLE = (*objects.CONTROL_HOLD, *objects.CONTROL_CALL, objects.SYSTEM_PATTERN_CONTROL, objects.UNIT_BACKUP_TIME)
FORCE_OFF = ber.oid("1.3.6.1.4.1.1206.4.2.1.1.5.1.5.1")
ANY_OID = st.one_of(st.sampled_from(WRITABLE), st.sampled_from((*objects.GREENS, FORCE_OFF)))
ANY_WRITE = st.lists(
    st.builds(lambda oid, value: snmp.Varbind(oid, ber.INTEGER, value), ANY_OID, st.integers(-1, 300)), max_size=6
)


@given(ANY_WRITE)
def test_no_write_that_passes_asks_for_two_phases(varbinds):
    if requests.guard(varbinds):
        return
    asked = set()
    for one in varbinds:
        assert one.oid in WRITABLE
        for column in (objects.CONTROL_HOLD, objects.CONTROL_CALL):
            if one.oid in column:
                asked |= {8 * column.index(one.oid) + bit for bit in range(8) if one.value >> bit & 1}
    assert len(asked) <= 1


@pytest.mark.parametrize("phase", range(9))
def test_a_priority_request_names_its_phase_and_takes_back_all_others(phase):
    varbinds = requests.priority(phase, MATRIX)
    assert requests.guard(varbinds) == ""
    assert requests.read_back(varbinds, "priority") == phase
    assert {one.oid for one in varbinds} == {objects.CONTROL_HOLD[0], objects.CONTROL_CALL[0]}


def test_sixteen_phases():
    matrix = parse_matrix({"conflicts": {"1": [16], "16": [1]}})
    varbinds = requests.priority(16, matrix)
    assert [one.value for one in varbinds] == [0, 0, 0x80, 0x80]
    assert requests.guard(varbinds) == ""
    assert requests.read_back(varbinds, "priority") == 16
    with pytest.raises(ValueError, match="no phase 2"):
        requests.priority(2, matrix)


@pytest.mark.parametrize(("make", "value"), [(requests.pattern, 254), (requests.pattern, 255), (requests.pattern, -1),
                                            (requests.backup_time, 0), (requests.backup_time, 9)])  # fmt: skip
def test_flash_free_and_a_timer_switched_off_cannot_be_built(make, value):
    with pytest.raises(ValueError, match=str(value)):
        make(value)


def test_the_guard_has_its_own_eyes():
    two = [snmp.Varbind(objects.CONTROL_CALL[0], ber.INTEGER, 0x0A)]
    assert "more than one phase" in requests.guard(two)
    columns = (objects.CONTROL_CALL[0], 2), (objects.CONTROL_HOLD[0], 8)
    split = [snmp.Varbind(oid, ber.INTEGER, value) for oid, value in columns]
    assert "more than one phase" in requests.guard(split)
    assert "not a pattern" in requests.guard([snmp.Varbind(objects.SYSTEM_PATTERN_CONTROL, ber.INTEGER, 255)])
    assert "never written" in requests.guard([snmp.Varbind(objects.GREENS[0], ber.INTEGER, 2)])
    assert "only numbers" in requests.guard([snmp.Varbind(objects.CONTROL_CALL[0], ber.OCTETS, b"\2")])
    assert "nothing" in requests.guard([])
    assert "backup time" in requests.guard([snmp.Varbind(objects.UNIT_BACKUP_TIME, ber.INTEGER, 0)])
    assert "only watched" in requests.forbidden(requests.priority(1, MATRIX))


def test_a_readback_that_nobody_asked_for_is_none():
    hold, call = objects.CONTROL_HOLD[0], objects.CONTROL_CALL[0]
    for held, called in ((2, 0), (0, 2), (3, 3), (2, 4)):
        varbinds = [snmp.Varbind(hold, ber.INTEGER, held), snmp.Varbind(call, ber.INTEGER, called)]
        assert requests.read_back(varbinds, "priority") is None
    assert requests.read_back([snmp.Varbind(hold, snmp.NO_SUCH_OBJECT)], "priority") is None
