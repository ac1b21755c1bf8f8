"""When a silent part is taken for one that hangs."""

import pytest

from gwanje.core.city.supervisor import hangs

S = 1_000_000_000


@pytest.mark.parametrize(("started_s", "beat_s", "now_s", "expected"), [
    (100, 0, 119, False),  # no beat yet: it comes up
    (100, 0, 121, True),
    (100, 101, 112, False),  # the first beat, and then it loads and builds for as long as a busy machine takes
    (100, 101, 120.5, True),
    (100, 115, 119, False),
    (100, 200, 204, False),
    (100, 200, 206, True),
    (100, 50, 103, False),  # the beat of the process before it
])  # fmt: skip
def test_a_silent_part(started_s, beat_s, now_s, expected):
    assert hangs(int(started_s * S), int(beat_s * S), int(now_s * S)) is expected
