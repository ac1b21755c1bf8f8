"""Where the live part begins, and what it says when it cannot."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.control.microgrid.live import main as live
from gwanje.control.microgrid.live import part
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

CHUNGBUK = Path(__file__).parents[4] / "configs" / "chungbuk"


class Moment(VirtualClock):
    """A clock on which something happens at a time."""

    def __init__(self, at_ns, happens):
        super().__init__()
        self._at_ns, self._happens = at_ns, happens

    def wait_until_mono_ns(self, deadline_mono_ns, interrupt_fd=None):
        if deadline_mono_ns >= self._at_ns:
            self._happens()
        return super().wait_until_mono_ns(deadline_mono_ns, interrupt_fd)


@pytest.fixture(scope="module")
def site():
    return load_site(CHUNGBUK)


@pytest.fixture
def context(tmp_path, site):
    store = TagStore.create(tmp_path / "tags", site.tags)
    field = store.writer("field")
    stop, write = os.pipe()

    def known():
        for name in part.NEEDED:
            field.write_one(site.tags.index(name), 1.0, int(Quality.GOOD), 1, ctx.clock.mono_ns())

    ctx = PartContext(
        "microgrid", site, site.tags, store, Moment(3 * NS_PER_S, known), None, tmp_path, RunOptions(), stop,
        logging.getLogger("test"), Heartbeat(tmp_path, "microgrid"),
    )  # fmt: skip
    return ctx, write


def test_it_waits_for_the_first_values_with_a_beating_heart(context):
    ctx, _ = context
    assert part.measured(ctx)
    assert 3 * NS_PER_S <= ctx.clock.mono_ns() < 3.2 * NS_PER_S
    assert ctx.beat.last_mono_ns() > 2.8 * NS_PER_S


def test_it_does_not_wait_for_ever_and_not_when_it_is_stopped(context):
    ctx, write = context
    ctx.clock = VirtualClock()
    begin = ctx.clock.mono_ns()
    assert part.measured(ctx)
    assert ctx.clock.mono_ns() - begin == pytest.approx(part.WAITED_S * NS_PER_S, rel=0.02)
    os.write(write, b"x")
    assert not part.measured(ctx)


def test_a_wrong_file_is_one_line(context, tmp_path):
    ctx, _ = context
    root = tmp_path / "site"
    shutil.copytree(CHUNGBUK / "microgrid", root / "microgrid")
    file = root / "microgrid" / "control.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("[site]", "[sight]"), encoding="utf-8")
    ctx.site = replace(ctx.site, root=root)
    with pytest.raises(PartError, match=r"microgrid: .*sight") as raised:
        live.main(ctx)
    assert "\n" not in str(raised.value)


def test_a_second_writer_is_told(context):
    ctx, _ = context
    kept = ctx.store.writer("microgrid")
    with pytest.raises(PartError, match="another process writes"):
        live.main(ctx)
    kept.close()
