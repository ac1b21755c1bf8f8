"""kill -9 of a process that runs the command server, at the worst moment."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.commands.messages import Command
from gwanje.core.journal.chain import read
from gwanje.core.journal.verify import verify
from gwanje.core.journal.writer import Journal
from gwanje.core.requests import Code

from .world import CLOSED, IMPORT, LIMIT, World, plant


class Dying(World):
    """A core that is killed when a command is about to leave, or right after its owner has it."""

    when = ""

    def forward(self, owner: str, command: Command) -> None:
        if self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        (self.path.parent / "owner").write_text(command.command_id)
        os.kill(os.getpid(), signal.SIGKILL)

    def append_all(self, entries: Any) -> Any:
        if self.when == "journal":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().append_all(entries)


def ready(world: World) -> World:
    for name, value in ((CLOSED, 1.0), ("grid.tie.import_w", 0.0), (IMPORT, 1e5), (LIMIT, 1.0)):
        world.show(name, value)
    return world


def operate(folder: str, when: str) -> None:
    world = ready(Dying(Path(folder), operations=plant()))
    world.when = when
    world.operate(LIMIT, 0.5, command_id="c1")
    os._exit(3)  # the kill did not come


@pytest.mark.parametrize("when", ["journal", "before", "after"])
def test_a_kill_around_the_journal_entry(tmp_path: Path, when: str) -> None:
    child = multiprocessing.get_context("fork").Process(target=operate, args=(str(tmp_path), when))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    told = [one.data["command_id"] for one in read(tmp_path / "journal.jsonl") if one.kind == "command_requested"]
    assert told == ([] if when == "journal" else ["c1"])
    sent = (tmp_path / "owner").exists()
    assert sent is (when == "after")
    world = ready(World(tmp_path, operations=plant()))
    world.server.take_up(None)
    assert world.forwarded == [], "a core that starts sends nothing of what was before"
    kinds = world.kinds()
    if when != "journal":
        assert kinds[-1] == "command_timed_out", "nobody knows what became of it, and that is said"
        assert world.operate(LIMIT, 0.5, command_id="c1")["code"] == Code.REPLAYED
    assert world.operate(LIMIT, 0.5, command_id="c2") == {}
    world.journal.close()
    assert verify(tmp_path / "journal.jsonl").ok
    assert isinstance(Journal.open(tmp_path / "journal.jsonl", world.clock), Journal)
