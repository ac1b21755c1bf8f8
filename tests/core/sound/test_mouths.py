"""Who hears the site's own loudspeakers: the node at the pole, those near it, and for how long."""

from __future__ import annotations

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.nodes import Node
from gwanje.core.sound.mouths import AFTER_NS, SOUNDING_MAX_NS, Echo, EchoWatch, Mouth
from gwanje.core.tags.quality import Quality

NODES = [
    Node(f"mic{n}", "a", f"마이크 {n}", f"node {n}", f"rtsp://h/mic{n}", "L16", x_m, 0.0, False, {})
    for n, x_m in enumerate((0.0, 100.0, 240.0, 1_000.0))
]
MOUTHS = [
    Mouth(f"cam{n}", f"a.cam{n}", "cameras", f"a.cam{n}.speaking", node, "카메라", "camera")
    for n, node in enumerate(("mic0", "mic2", ""))
]
GOOD = np.zeros(2, np.uint16)


def test_the_own_node_and_those_within_reach():
    watch = EchoWatch(MOUTHS, NODES)
    assert watch.tags == ["a.cam0.speaking", "a.cam1.speaking"], "a camera without a node is heard by nobody"
    assert (watch.own, watch.near) == ((0, 2), ((1,), (1,)))
    assert watch.step(np.array([1.0, 0.0]), GOOD, NS_PER_S).tolist() == [Echo.OWN, Echo.NEAR, Echo.NONE, Echo.NONE]
    assert watch.step(np.array([1.0, 2.0]), GOOD, NS_PER_S).tolist() == [Echo.OWN, Echo.NEAR, Echo.OWN, Echo.NONE]
    assert [watch.heard_by(n, NS_PER_S) for n in range(4)] == ["cam0", "cam0", "cam1", ""]


def test_it_goes_on_for_a_second_after_the_last_word():
    watch = EchoWatch(MOUTHS, NODES)
    now = 10 * NS_PER_S
    watch.step(np.array([3.0, 0.0]), GOOD, now)
    assert watch.step(np.zeros(2), GOOD, now + AFTER_NS - 1)[0] == Echo.OWN
    assert watch.step(np.zeros(2), GOOD, now + AFTER_NS)[0] == Echo.NONE
    assert watch.heard_by(0, now + AFTER_NS) == ""


@pytest.mark.parametrize("quality", [Quality.BAD | Quality.COMM, Quality.BAD | Quality.STALE])
def test_a_camera_that_is_gone_does_not_sound(quality: Quality):
    watch = EchoWatch(MOUTHS, NODES)
    bad = np.array([quality, 0], np.uint16)
    assert not watch.step(np.array([1.0, np.nan]), bad, NS_PER_S).any()


def test_a_tag_that_is_stuck_deafens_nobody_for_ever():
    watch = EchoWatch(MOUTHS, NODES)
    speaking = np.array([1.0, 0.0])
    now = NS_PER_S
    for _ in range(SOUNDING_MAX_NS // NS_PER_S):
        assert watch.step(speaking, GOOD, now)[0] == Echo.OWN
        now += NS_PER_S
    now += 3 * NS_PER_S
    assert not watch.step(speaking, GOOD, now).any()
    watch.step(np.zeros(2), GOOD, now)
    assert watch.step(speaking, GOOD, now)[0] == Echo.OWN, "the next announcement counts"
