"""A real core that is killed: alarm, acknowledgement and shelf are found as they were, and numbers go on."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_core_main import Town

from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.journal.chain import read
from gwanje.core.journal.verify import verify


@pytest.fixture
def town() -> Iterator[Town]:
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    town = Town(folder)
    yield town
    town.close()
    shutil.rmtree(folder)


def ask(town: Town, op: str, session: str = "", **more: Any) -> dict[str, Any]:
    return town.bus.request("alarms", {"op": op, "session": session, **more}, 5_000)


def test_kill_9_in_the_middle_of_an_alarm_and_a_shelf(town: Town) -> None:
    town.add_user("kim", Role.SUPERVISOR)
    town.start_process()
    session = town.sign_in("kim")
    town.bus.request("session", {"op": "take_area", "session": session, "area": "all", "reason": "shift"}, 5_000)
    street = Bus(town.run_dir, "acoustic", town.clock, town.site.tags.n)
    publisher = street.publisher()

    def raised() -> bool:
        town.write_error(200.0)
        now = town.clock.mono_ns()
        publisher.event(Event("acoustic", "mic03", "glass_break", town.clock.utc_ns(), now, "유리", "glass", 0.9))
        return len({one.alarm_id for one in town.messages if isinstance(one, AlarmChange)}) == 2

    town.until(raised)
    assert ask(town, "ack", session, alarm_id="glass:mic03")["outcome"] == "done"
    shelved = ask(town, "shelve", session, alarm_id="error_high", reason="meter work", for_s=1_200)
    assert shelved["outcome"] == "done", shelved
    before, hidden = ask(town, "list"), ask(town, "shelved")["shelved"]
    town.kill_process()
    town.messages.clear()
    town.start_process()
    after = ask(town, "list")
    assert {one["alarm_id"]: one["state"] for one in after["alarms"]} == {
        "error_high": "shelved", "glass:mic03": "ack_active",
    }  # fmt: skip
    assert after["alarms"] == before["alarms"]
    (now,), (was,) = ask(town, "shelved")["shelved"], hidden
    assert (now["author"], now["reason"], now["until_utc_ns"]) == ("kim", "meter work", was["until_utc_ns"])
    assert 0 < now["left_s"] < was["left_s"]
    again = town.sign_in("kim")
    town.bus.request("session", {"op": "take_area", "session": again, "area": "all", "reason": "shift"}, 5_000)

    def back() -> bool:
        town.write_error(200.0)
        return town.alarm_states()[-1:] == ["unack_active"]

    assert ask(town, "unshelve", again, alarm_id="error_high", reason="done")["outcome"] == "done"
    town.until(back)
    assert max(one["sequence"] for one in before["alarms"]) < ask(town, "list")["sequence"]
    street.close()
    kinds = [entry.kind for entry in read(town.state_dir / "journal.jsonl") if entry.kind.startswith("alarm")]
    assert kinds.count("alarm_shelved") == kinds.count("alarm_unshelved") == 1
    assert verify(town.state_dir / "journal.jsonl").ok


def test_killed_again_and_again_while_alarms_come_and_go(town: Town) -> None:
    """What a screen was told of is found after the kill, or its return stands in the journal."""
    told = 0
    for turn in range(4):
        town.start_process()
        wanted = 200.0 if turn % 2 == 0 else 0.0

        def changed(value: float = wanted) -> bool:
            town.write_error(value)
            found = town.alarms()
            return found is not None and [one["phase"] for one in found] == [
                "unack_active" if value else "unack_returned"
            ]

        town.until(changed)
        sequence = ask(town, "list")["sequence"]
        assert sequence > told
        told = sequence
        town.kill_process()
    town.start_process()
    assert [one["phase"] for one in town.alarms() or []] == ["unack_returned"]
