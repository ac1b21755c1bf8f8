"""The matrix, and values with their quality."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_rig import SCAN_S, signal_device, site

from gwanje.core.tags.quality import Quality
from gwanje.io.field.ntcip import ber, objects, snmp
from gwanje.io.field.ntcip.phases import MatrixError, lowest, parse_matrix
from gwanje.io.field.ntcip.plan import NOTHING, Status, Watch, make_groups

PAIRS = st.sets(st.sampled_from(list(combinations(range(1, 17), 2))), max_size=40)


def table(pairs):
    found = {}
    for one, other in pairs:
        found.setdefault(str(one), []).append(other)
        found.setdefault(str(other), []).append(one)
    return {"conflicts": found or {"1": []}}


@given(PAIRS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_conflicts_are_what_the_pairs_say(pairs, greens, yellows, walks):
    found = parse_matrix(table(pairs)).conflict(greens, yellows, walks)
    moving, go = greens | yellows | walks, greens | walks
    wrong = {
        (one, other) for one, other in pairs
        if moving >> one - 1 & 1 and moving >> other - 1 & 1 and (go >> one - 1 & 1 or go >> other - 1 & 1)
    }  # fmt: skip
    assert (found is not None) == bool(wrong)
    if found:
        assert tuple(sorted(found)) in wrong


@pytest.mark.parametrize(
    ("conflicts", "why"),
    [
        ({}, "must be a table"),
        ({"1": [2]}, "phase 1 conflicts with 2, but 2 not with 1"),
        ({"1": [1]}, "with itself"),
        ({"0": []}, "not a phase"),
        ({"17": []}, "not a phase"),
        ({"1": ["x"]}, "not a phase"),
        ({"1": 2}, "array"),
        ([1], "must be a table"),
    ],
)
def test_matrices_that_cannot_be(conflicts, why):
    with pytest.raises(MatrixError, match=why):
        parse_matrix({"conflicts": conflicts})


def test_lowest_phase():
    assert [lowest(one) for one in (0, 1, 0b100100, 1 << 15)] == [0, 1, 3, 16]


def make_group(scan="normal"):
    device = signal_device()
    groups = make_groups(device, site().tags, SCAN_S, parse_matrix(device.params), int(Quality.SIMULATED))
    return groups[0 if scan == "normal" else 1]


def answers(**words):
    """Varbinds of a sound controller, with some words changed; a value may be a Varbind."""
    numbers = {"reds": 0xDD, "yellows": 0, "greens": 0x22, "walks": 0x22, "calls": 0, "flash_status": 2,
               "control_status": 6, "pattern": 1, "alarm1": 0, "alarm2": 0, "short_alarm": 0,
               "backup_time": 60}  # fmt: skip
    got = {}
    for word, number in {**numbers, **words}.items():
        oid = objects.MASKS[word][0] if word in objects.MASKS else objects.SCALARS[word].oid
        got[oid] = number if isinstance(number, snmp.Varbind) else snmp.Varbind(oid, ber.INTEGER, number)
    return got


def decoded(got, group=None):
    group = group or make_group()
    _, values, quality = group.decode(got)
    names = [site().tags.tags[int(one)].name.split(".")[-1] for one in group.ids]
    return {name: (value, bits) for name, value, bits in zip(names, values.tolist(), quality.tolist(), strict=True)}


def test_a_sound_controller():
    found = decoded(answers())
    assert found["green_mask"] == (0x22, Quality.SIMULATED)
    assert found["current_phase"][0] == 2
    assert found["conflict"][0] == 0
    assert found["mode"][0] == 2


@pytest.mark.parametrize(("changed", "mode"), [({"flash_status": 5}, 3), ({"pattern": 255}, 3), ({"pattern": 254}, 1),
                                              ({"pattern": 0}, 0), ({"flash_status": 1}, 2)])  # fmt: skip
def test_modes(changed, mode):
    assert decoded(answers(**changed))["mode"][0] == mode


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (256, Quality.OUT_OF_RANGE),
        (-1, Quality.OUT_OF_RANGE),
        (snmp.Varbind(objects.GREENS[0], snmp.NO_SUCH_OBJECT), Quality.NOT_IMPLEMENTED),
        (snmp.Varbind(objects.GREENS[0], snmp.NO_SUCH_INSTANCE), Quality.NOT_IMPLEMENTED),
        (snmp.Varbind(objects.GREENS[0], ber.OCTETS, b"34"), Quality.DEVICE_FAILURE),
        (snmp.Varbind(objects.GREENS[0], ber.NULL), Quality.DEVICE_FAILURE),
    ],
)
def test_a_mask_that_is_none_is_bad_and_so_is_all_made_of_it(value, reason):
    found = decoded(answers(greens=value))
    for name in ("green_mask", "current_phase", "conflict"):
        assert found[name][1] == Quality.BAD | reason | Quality.SIMULATED, name
    assert not found["mode"][1] & Quality.BAD


def test_a_number_outside_the_standard_is_bad():
    found = decoded(answers(flash_status=0, pattern=300))
    assert found["mode"][1] & Quality.BAD
    assert found["pattern"][1] == Quality.BAD | Quality.OUT_OF_RANGE | Quality.SIMULATED


def test_missing_walks_do_not_hide_a_conflict():
    found = decoded(answers(greens=0x0A, walks=snmp.Varbind(objects.WALKS[0], snmp.NO_SUCH_OBJECT)))
    assert found["conflict"] == (1.0, Quality.SIMULATED)
    assert found["walk_mask"][1] & Quality.NOT_IMPLEMENTED


def test_nothing_at_all_is_bad_everywhere():
    assert all(bits & Quality.BAD for _, bits in decoded({}).values())


def test_cutting_goes_down_to_single_objects_and_no_further():
    group = make_group()
    n = len(group.questions[0].oids)
    while any(group.cut(one) for one in tuple(group.questions)):
        pass
    assert [len(one.oids) for one in group.questions] == [1] * n
    assert decoded(answers(), group)["conflict"][1] == Quality.BAD | Quality.CONFIG | Quality.SIMULATED


def test_lamps_that_stand():
    watch = Watch(600.0)

    def status(greens, pattern=1, flash=2):
        return Status({"greens": (greens, 0), "yellows": (0.0, 0), "pattern": (pattern, 0), "flash_status": (flash, 0)})

    assert not watch.frozen(status(2.0), 1)
    assert not watch.frozen(status(2.0), 599 * 10**9)
    assert watch.frozen(status(2.0), 601 * 10**9)
    assert not watch.frozen(status(4.0), 602 * 10**9)
    assert not watch.frozen(status(4.0, pattern=254.0), 2000 * 10**9), "running free they may stand"
    assert not watch.frozen(status(4.0, flash=5.0), 4000 * 10**9)
    assert not Watch(0.0).frozen(status(4.0), 10**15)


def test_words_without_value():
    assert math.isnan(NOTHING[0])
    assert np.all(np.diff(make_group().ids) > 0)
