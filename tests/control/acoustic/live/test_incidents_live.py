"""From events of nodes to one incident with a place, a camera and lamps: the pure parts, without a city."""

import math
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic.live import onset
from gwanje.control.acoustic.live.aim import Camera, Lamp, aim, lamps_near
from gwanje.control.acoustic.live.arrays import Arrays, State
from gwanje.control.acoustic.live.desk import CITY_WIDE, Desk, Heard, What
from gwanje.control.acoustic.live.hands import Job, carry_out
from gwanje.control.acoustic.live.hearing import tell
from gwanje.control.acoustic.live.places import NodePlace
from gwanje.control.acoustic.live.rises import Rises
from gwanje.control.acoustic.live.verdicts import SHIFT_MAX, Verdicts
from gwanje.control.acoustic.where import position
from gwanje.control.acoustic.where.array import between, square
from gwanje.control.acoustic.where.bearing import Bearing
from gwanje.control.acoustic.where.incidents import IncidentParams, NodeEvent
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Accepted, TimedOut
from gwanje.core.requests import Code, Refused
from gwanje.core.state_file import StateFile
from gwanje.io.sim.soundfield import Place, Post, arrive

RATE = 16_000
C = 340.0
SQUARE = tuple(map(tuple, square().mic_xy_m.tolist()))
CORNERS = {"a": (0.0, 0.0), "b": (60.0, 0.0), "c": (60.0, -60.0), "d": (0.0, -60.0)}
SOURCE = (25.0, -22.0)
S = 1_000_000_000


def burst(seed: int = 1, n: int = 4_000) -> np.ndarray:
    """Something that breaks: noise that begins at once and dies away."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(0.0, 6_000.0, n) * np.exp(-np.arange(n) / 1_500.0)
    return np.concatenate([np.zeros(160), sound])


class OneRing:
    """The ring of some nodes whose whole sound is known: sample k was captured at k × 62.5 µs."""

    def __init__(self, rows: list[np.ndarray]) -> None:
        self._rows = rows

    def rows(self, node_index: int, start: int, stop: int) -> tuple[np.ndarray, int]:
        start, stop = max(0, start), min(stop, self._rows[node_index].shape[1])
        return self._rows[node_index][:, start:stop], start

    def gaps(self, node_index: int, start: int, stop: int) -> list[tuple[int, int]]:
        return []

    def time_of(self, node_index: int, position: int) -> int:
        return position * 62_500


def heard_at(post: Post, source: tuple[float, float], at: int, seed: int, seconds: float = 2.0) -> np.ndarray:
    """(4, n) int16 of an array that hears a burst over its street."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.0, 60.0, (4, round(seconds * RATE)))
    arrival = arrive(burst(), RATE, post, Place(*source), C)
    first = at + arrival.first
    n = min(arrival.samples.shape[1], rows.shape[1] - first)
    rows[:, first : first + n] += arrival.samples[:, :n]
    return np.clip(np.rint(rows), -32_768, 32_767).astype(np.int16)


def places(yaw: float = 0.7) -> tuple[NodePlace, ...]:
    return tuple(NodePlace(name, xy, square(), yaw, math.radians(0.5)) for name, xy in CORNERS.items())


def crossing(turned: float = 0.0) -> tuple[tuple[NodePlace, ...], OneRing]:
    """Four corners that hear the burst at sample 16 000; the first node's yaw is wrong by ``turned`` in its file."""
    known = places()
    posts = [Post(*one.xy_m, 4.0, SQUARE, one.yaw + (turned if index == 0 else 0.0)) for index, one in enumerate(known)]
    return known, OneRing([heard_at(post, SOURCE, RATE, seed) for seed, post in enumerate(posts)])


def told(known, ring, index, coarse_s=1.05, well=None):
    return tell(ring, index, known[index], round(coarse_s * S), C, well=well)


def test_four_nodes_say_where_it_was_within_a_foot():
    known, ring = crossing()
    said = [told(known, ring, index) for index in range(4)]
    for one, place in zip(said, known, strict=True):
        assert isinstance(one.bearing, Bearing)
        towards = math.atan2(SOURCE[0] - place.xy_m[0], SOURCE[1] - place.xy_m[1])
        assert abs(between(one.heard.bearing, towards)) < math.radians(0.5)
    found = position.locate([one.heard for one in said], position.PositionParams(speed_m_s=C))
    assert isinstance(found, position.Position)
    assert math.dist(found.xy_m, SOURCE) < 0.3
    apart = [one.heard.onset_ns - said[0].heard.onset_ns for one in said]
    range_m = [math.hypot(math.dist(one.xy_m, SOURCE), 2.8) for one in known]
    assert apart == pytest.approx([(r - range_m[0]) / C * 1e9 for r in range_m], abs=4e5)


@pytest.mark.parametrize("coarse_s", [1.0, 1.25])
def test_the_onset_is_the_same_however_coarsely_the_chain_says_it(coarse_s):
    known, ring = crossing()
    sure, coarse = told(known, ring, 1), told(known, ring, 1, coarse_s)
    assert abs(coarse.heard.onset_ns - sure.heard.onset_ns) < 200_000


def test_without_anything_that_rises_there_is_no_onset_and_no_bearing():
    quiet = np.random.default_rng(9).normal(0.0, 60.0, (4, 2 * RATE)).astype(np.int16)
    assert onset.find(quiet, RATE) is None
    one = tell(OneRing([quiet]), 0, places()[0], S, C)
    assert one.heard.bearing is None
    assert one.heard.onset_ns == S
    empty = tell(OneRing([quiet[:, :0]]), 0, places()[0], S, C)
    assert empty.heard.bearing is None


def test_a_ring_of_another_array_and_ill_microphones_give_no_bearing():
    known, ring = crossing()
    alone = tell(OneRing([ring.rows(0, 0, 2 * RATE)[0][:1]]), 0, known[0], S, C)
    assert (alone.heard.bearing, alone.evidence) == (None, None)
    assert told(known, ring, 0, well=np.zeros(4, bool)).heard.bearing is None
    three = told(known, ring, 0, well=np.array([True, False, True, True]))
    assert isinstance(three.bearing, Bearing)


def event(key: str, node: str, kind: str = "glass_break", at_s: float = 100.0, source=SOURCE, wide=False) -> Heard:
    xy = CORNERS[node]
    range_m = math.dist(xy, source)
    said = position.Heard(node, xy, math.atan2(source[0] - xy[0], source[1] - xy[1]), 0.004, None,
                          round((at_s + range_m / C) * S), 0.002)  # fmt: skip
    one = NodeEvent(key, kind, -20.0 - 20.0 * math.log10(max(range_m, 1.0) / 10.0), said)
    return Heard(one, list(CORNERS).index(node), 0.8, 0.9, wide)


def test_four_nodes_make_one_incident_told_once_and_placed():
    desk, params = Desk(7), IncidentParams()
    changes = [change for name in CORNERS for change in desk.take([event(name, name)], CORNERS, 101 * S, params)]
    assert [change.what for change in changes].count(What.NEW) == 1
    assert changes[0].what is What.NEW
    (record,) = desk.records
    assert (record.number, record.nodes, desk.next) == (7, list(CORNERS), 8)
    assert math.dist(record.place.xy_m, SOURCE) < 1.0
    message = record.to_message(5)
    assert message["begin_utc_ns"] == record.begin_ns + 5
    assert message["place"]["semi_major_m"] < 3.0
    assert desk.take([event("again", "a", at_s=103.0)], CORNERS, 104 * S, params) == []  # the same sound goes on
    later = desk.take([event("other", "b", "scream", at_s=150.0)], CORNERS, 151 * S, params)
    assert [one.what for one in later] == [What.NEW]
    assert desk.find(7) is record
    assert desk.find(99) is None


def test_what_the_whole_city_hears_is_one_incident_without_a_place():
    desk, params = Desk(), IncidentParams()
    first = desk.take([event("1", "a", "explosion", wide=True)], CORNERS, 101 * S, params)
    assert [(one.what, one.record.kind) for one in first] == [(What.NEW, CITY_WIDE)]
    more = desk.take([event("2", "b", "explosion", wide=True)], CORNERS, 102 * S, params)
    assert more == []
    assert desk.records[0].nodes == ["a", "b"]


def test_a_node_far_away_that_hears_it_later_makes_no_incident_of_its_own():
    desk, params = Desk(), IncidentParams()
    for name in CORNERS:
        desk.take([event(name, name)], CORNERS, 101 * S, params)
    (record,) = desk.records
    away = (900.0, 0.0)
    arrives_ns = round((100.0 + math.dist(away, SOURCE) / C) * S)
    assert desk.follows(away, arrives_ns, "vehicle_crash", C, params) is record
    assert desk.follows(away, arrives_ns - S, "glass_break", C, params) is None, "before it can have come"
    assert desk.follows(away, arrives_ns, "scream", C, params) is None, "another kind of sound"
    assert desk.follows((30.0, 30.0), round(100.1 * S), "glass_break", C, params) is None, "near: it helps to place it"
    desk.attach(record, event("far", "a"))
    assert len(record.nodes) == 4


def far_town(n: int = 12) -> tuple[NodePlace, ...]:
    return tuple(NodePlace(f"n{k}", (500.0 * (k % 4), 500.0 * (k // 4)), None, 0.0, 0.0) for k in range(n))


@pytest.mark.parametrize(("risen", "wide"), [(12, True), (3, False)])
def test_rises_everywhere_are_the_sky_and_few_are_not(risen, wide):
    rises = Rises(far_town())
    for node in range(12):
        rises.take(node, 9 * S, -48.0, -50.0)
        rises.take(node, 10 * S, -30.0 if node < risen else -48.0, -50.0)
    assert rises.city_wide(0, 10 * S) is wide
    assert not rises.city_wide(0, 20 * S), "what was long ago says nothing"


LOOKS = {1: math.radians(45), 2: math.radians(135), 3: math.radians(300)}
CAMERA = Camera("cam1", "x.cam1.preset", (0.0, 0.0), "a", LOOKS)
OTHER = Camera("cam2", "x.cam2.preset", (300.0, 0.0), "b", {1: 0.0})


def test_the_camera_of_the_node_looks_along_the_bearing_and_the_nearest_one_at_the_place():
    by_node = aim((CAMERA, OTHER), {"a": math.radians(150)}, None, 150.0, CORNERS)
    assert (by_node.camera.name, by_node.preset) == ("cam1", 2)
    assert by_node.off == pytest.approx(math.radians(15))
    assert aim((OTHER,), {"c": 1.0}, None, 150.0, CORNERS) is None
    assert aim((CAMERA, OTHER), {}, (310.0, 20.0), 150.0, CORNERS).camera.name == "cam2"
    far_place = aim((CAMERA,), {"a": 0.1}, (900.0, 900.0), 150.0, CORNERS)
    assert far_place.preset == 1  # no camera near the place: the node's own
    assert aim((CAMERA,), {"a": math.radians(350)}, None, 150.0, CORNERS).preset == 3
    by_another = aim((CAMERA,), {"c": math.radians(315)}, None, 150.0, CORNERS)
    assert by_another.preset == 2, "a node without a camera: the nearest looks where it is likely"


def test_lamps_near_a_place_are_the_nearest_ones():
    lamps = tuple(Lamp(f"l{k}", (10.0 * k, 0.0)) for k in range(10))
    assert [one.point for one in lamps_near(lamps, (22.0, 0.0), 25.0, 3)] == ["l2", "l3", "l1"]
    assert lamps_near(lamps, (500.0, 0.0), 25.0, 3) == ()


class Told:
    def __init__(self, *outcomes) -> None:
        self.outcomes, self.asked = list(outcomes), []

    def write(self, point, value, reason, expires_s=5.0):
        self.asked.append((point, value, reason))
        return self.outcomes.pop(0)


def test_what_people_hold_is_left_to_them_and_told():
    clock = VirtualClock()
    job = Job("lamps", "", 3, ("l1", "l2", "l3"), 100.0, "incident 3", clock.mono_ns())
    writer = Told(Accepted("1"), Refused(Code.HELD, "kim"), TimedOut("3"))
    done = carry_out(job, writer, clock)
    assert (done.n_taken, "kim" in done.why_en, len(writer.asked)) == (1, True, 3)


def test_verdicts_move_thresholds_within_bounds_and_are_kept(tmp_path: Path):
    file = tmp_path / "verdicts.json"
    verdicts = Verdicts(StateFile(file, 10_000), ["mic01", "mic02"])
    part = [("mic01", "scream"), ("mic01", "scream"), ("mic02", "gunshot")]
    for _ in range(10):
        verdicts.say("false", part, 5)
    assert verdicts.shift("mic01", "scream") == SHIFT_MAX
    assert verdicts.shift("mic01", "gunshot") == 0.0
    verdicts.say("true", part, 6)
    assert verdicts.shift("mic01", "scream") == SHIFT_MAX - 0.25
    verdicts.say("unsure", part, 6, instead_of="true")
    assert verdicts.shift("mic01", "scream") == SHIFT_MAX
    again = Verdicts(StateFile(file, 10_000), ["mic01"])
    assert (again.first, again.unread, again.shift("mic01", "scream")) == (6, "", SHIFT_MAX)
    assert ("mic02", "gunshot") not in again.shifts, "a node that is gone is forgotten"
    for wrong in ("[]", "{}", '{"next": 0, "counts": {}, "shifts": {}}', "nothing"):
        file.write_text(wrong, encoding="utf-8")
        damaged = Verdicts(StateFile(file, 10_000), ["mic01"])
        assert damaged.unread
        assert damaged.shifts == {}


def test_a_verdict_that_cannot_be_kept_changes_nothing(tmp_path: Path):
    verdicts = Verdicts(StateFile(tmp_path / "gone" / "verdicts.json", 10_000), ["mic01"])
    with pytest.raises(OSError, match="gone"):
        verdicts.say("false", [("mic01", "scream")], 2)
    assert verdicts.shifts == {}
    assert verdicts.counts["false"] == 0


def streets(n_looks: int, spoil) -> tuple[Arrays, list[bool]]:
    """An array that is looked at several times, its sound spoilt."""
    from gwanje.io.sim.soundfield import everywhere

    rng = np.random.default_rng(6)
    loop = everywhere(rng.normal(0.0, 400.0, 3 * RATE).astype(np.int16), SQUARE, RATE)
    rows = spoil(loop.copy())
    arrays = Arrays(places()[:1])
    return arrays, [arrays.look(0, OneRing([rows]), rows.shape[1], C) for _ in range(n_looks)]


def dead(rows):
    rows[2] = 0
    return rows


def silent(rows):
    rows[2] //= 16
    return rows


def clipped(rows):
    rows[2] = np.clip(rows[2].astype(int) * 1_000, -32_768, 32_767)
    return rows


def test_a_sound_array_is_well_at_the_first_look():
    arrays, changed = streets(3, lambda rows: rows)
    assert (arrays.of[0].state, changed) == (State.WELL, [True, False, False])
    assert arrays.usable(0).all()


@pytest.mark.parametrize("spoil", [dead, silent, clipped])
def test_an_ill_microphone_is_seen_twice_before_it_counts_and_then_left_out(spoil):
    arrays, changed = streets(3, spoil)
    assert (arrays.of[0].state, changed) == (State.MICROPHONE, [False, True, False])
    assert arrays.usable(0).tolist() == [True, True, False, True]
    assert arrays.of[0].faults.startswith("3: ")


def test_exchanged_channels_are_found_from_what_is_heard_and_give_no_bearing():
    arrays = Arrays(places()[:1])
    sources = [(30.0, 10.0), (-20.0, 25.0), (5.0, -40.0), (-30.0, -12.0)]
    for seed, source in enumerate(sources):
        rows = heard_at(Post(0.0, 0.0, 4.0, SQUARE, 0.7), source, RATE // 2, seed)[[1, 0, 2, 3]]
        arrays.heard(0, tell(OneRing([rows]), 0, places()[0], round(0.6 * S), C).evidence)
    street = OneRing([heard_at(Post(0.0, 0.0, 4.0, SQUARE, 0.7), (2_000.0, 0.0), 0, 8)])
    street._rows[0] = np.tile(np.random.default_rng(2).normal(0.0, 300.0, 2 * RATE), (4, 1)).astype(np.int16)
    changes = [arrays.look(0, street, 2 * RATE, C) for _ in range(2)]
    assert (arrays.of[0].state, changes) == (State.EXCHANGED, [False, True])
    assert not arrays.usable(0).any()


def test_a_node_whose_bearings_always_miss_the_place_was_turned():
    arrays = Arrays(places()[:1])
    street = OneRing([np.tile(np.random.default_rng(2).normal(0.0, 300.0, 2 * RATE), (4, 1)).astype(np.int16)])
    for incident, xy in enumerate([(30.0, 10.0), (-20.0, 25.0), (5.0, -40.0)]):
        arrays.placed(0, incident, math.atan2(*xy) + math.radians(20.0), xy)
    assert [arrays.look(0, street, 2 * RATE, C) for _ in range(2)] == [False, True]
    assert arrays.of[0].state is State.TURNED
    for incident in range(3, 12):
        arrays.placed(0, incident, math.atan2(30.0, 10.0), (30.0, 10.0))
    assert [arrays.look(0, street, 2 * RATE, C) for _ in range(2)] == [False, True]
    assert arrays.of[0].state is State.WELL


def test_a_node_turned_by_hand_takes_no_part_in_a_false_place():
    known, ring = crossing(turned=math.radians(60.0))
    said = [told(known, ring, index).heard for index in range(4)]
    found = position.locate(said, position.PositionParams(speed_m_s=C))
    assert isinstance(found, position.NoPosition) or math.dist(found.xy_m, SOURCE) < 2.0
