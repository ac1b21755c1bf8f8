"""Alarms as they run: random plants, people, kills, stepped clocks and locked files on a virtual clock.

``GWANJE_SEED=7`` runs one seed alone, ``GWANJE_SEEDS=500`` more of them.
"""

import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alarms.made import TAGS, TOPOLOGY, S, event_alarm, heard, link_lost, quick
from alarms.test_service import ESS, LAMP, PV, Desk

from gwanje.core.alarms.definitions import Condition
from gwanje.core.alarms.flood import ROWS_MAX
from gwanje.core.alarms.states import Phase

DEFINITIONS = (
    quick(id="tie_high", latching=True, on_delay_s=0.4, off_delay_s=0.4),
    quick(id="tie_rate", condition=Condition.RATE, limit=60.0, window_s=1.0, priority=3),
    link_lost(ESS, priority=1),
    link_lost(PV, suppress_when="grid.tie.import_w > 150", on_delay_s=0.2),
    link_lost(LAMP, priority=4, re_alarm_s=60.0),
    link_lost("eumseong.ess2.online", latching=True),
    quick(id="open", tag="grid.breaker.closed", condition=Condition.BELOW, limit=0.5, priority=1),
    quick(id="load", tag="system.core.load", limit=0.5),
)
BINARY = (ESS, PV, LAMP, "eumseong.ess2.online", "grid.breaker.closed", "system.core.load")
PEOPLE = ("kim:operator", "lee:operator", "park:supervisor", "choi:viewer", "control:program")
OPS = ("ack", "reset", "shelve", "unshelve", "out_of_service", "return_to_service")


def seeds(n: int) -> list[int]:
    if "GWANJE_SEED" in os.environ:
        return [int(os.environ["GWANJE_SEED"])]
    return list(range(int(os.environ.get("GWANJE_SEEDS", n))))


class World:
    """A desk with everything that can happen to it, and what must stay true."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.desk = Desk(folder, DEFINITIONS)
        self.desk.authority.holders = {"jincheon": "kim", "eumseong": "park"}
        self.lock: sqlite3.Connection | None = None
        self.sequence = 0
        self.n_checked = 0

    def turn(self) -> None:
        chance, desk = self.chance, self.desk
        match chance.randrange(12):
            case 0 | 1 | 2:
                name = chance.choice(BINARY)
                desk.values[name] = 1.0 - desk.values[name]
            case 3:
                desk.values["grid.tie.import_w"] = chance.choice([0.0, 90.0, 120.0, 200.0])
            case 4:
                desk.alarms.event(heard(chance.choice(["mic03", "mic04"])))
            case 5 | 6 | 7:
                self.act()
            case 8:
                desk.clock.step_utc_ns(chance.choice([-1, 1]) * chance.choice([1, 3_600, 365 * 86_400]) * S)
            case 9:
                self.kill()
            case 10:
                self.toggle_lock()
            case 11:
                desk.journal.broken = not desk.journal.broken
        desk.look(chance.choice([0.0, 0.2, 0.2, 0.2, 1.0, 5.0, 61.0, 700.0]))
        self.check()

    def act(self) -> None:
        chance = self.chance
        ids = [*(one.id for one in DEFINITIONS), "glass:mic03", "glass:mic04", "nothing"]
        more: dict[str, Any] = {"alarm_id": chance.choice(ids), "reason": "work"}
        if chance.random() < 0.3:
            more |= {"for_s": chance.choice([600, 1_800, 28_800]), "one_shot": chance.random() < 0.5}
        self.desk.ask(chance.choice(OPS), chance.choice(PEOPLE), **more)

    def kill(self) -> None:
        """The process is gone and comes back; what was on the disk is found."""
        before = self.desk.ask("list")["alarms"]
        kept = self.desk.alarms.kept
        if self.lock is not None:
            self.toggle_lock()
        self.desk.boot = self.chance.choice(["boot 1", "boot 1", "boot 2"])
        self.desk.begin()
        assert self.desk.alarms.trouble == ""
        if kept:
            assert self.desk.ask("list")["alarms"] == before

    def toggle_lock(self) -> None:
        if self.lock is None:
            self.lock = sqlite3.connect(self.desk.folder / "alarms.sqlite", timeout=0)
            try:
                self.lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                self.lock.close()
                self.lock = None
        else:
            self.lock.rollback()
            self.lock.close()
            self.lock = None

    def check(self) -> None:
        desk = self.desk
        listed = {one["alarm_id"]: one for one in desk.ask("list")["alarms"]}
        assert listed.keys() <= {*(one.id for one in DEFINITIONS), "glass:mic03", "glass:mic04"}
        for one in listed.values():
            if one["priority"] == 1 and one["hidden_by"]:
                assert one["hidden_author"], "nothing hides priority 1 but a person"
            assert (one["hidden_by"] == "") == (one["state"] == one["phase"])
            assert one["phase"] in set(Phase)
        shown = desk.ask("presented")
        assert len(shown["presented"]) <= ROWS_MAX
        sequences = [one.sequence for one in desk.published]
        assert sequences == sorted(set(sequences)), "every change has its own number, rising over kills"
        journalled = {data.get("sequence") for _kind, data in desk.journal.entries}
        hiding = ("shelve", "unshelve", "take_out", "put_back")
        for change in desk.published[self.n_checked :]:
            told = change.sequence in journalled or change.hidden_author or change.state in hiding
            assert told or any(
                data["alarm_id"] == change.alarm_id and "author" in data for _kind, data in desk.journal.entries
            ), change
        self.n_checked = len(desk.published)

    def calm(self) -> None:
        """Everything is mended: nobody waits for anything that is not so."""
        desk = self.desk
        if self.lock is not None:
            self.toggle_lock()
        desk.journal.broken = False
        desk.values |= dict.fromkeys(BINARY, 1.0) | {"grid.tie.import_w": 0.0, "system.core.load": 0.0}
        desk.authority.holders = dict.fromkeys(("jincheon", "eumseong"), "park")
        desk.look(30_000.0)
        desk.look(700_000.0)
        desk.look(10.0)
        for one in desk.ask("list")["alarms"]:
            assert one["phase"] in (Phase.UNACK_RETURNED, Phase.LATCHED), one
            assert one["hidden_by"] == "", "every shelf has its end"
            desk.ask("ack", "park:supervisor", alarm_id=one["alarm_id"])
            desk.ask("reset", "park:supervisor", alarm_id=one["alarm_id"])
        assert desk.ask("list")["alarms"] == []
        assert desk.alarms.kept
        desk.begin()
        assert desk.ask("list")["alarms"] == []


@pytest.mark.parametrize("seed", seeds(12))
def test_whatever_happens_nothing_is_lost_and_nothing_hides(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed)
    for _ in range(150):
        world.turn()
    world.calm()


def test_the_world_knows_its_tags() -> None:
    assert all(name in TAGS for name in BINARY)
    assert TOPOLOGY.of_tag("system.core.load") == "centre"
    assert event_alarm().id == "glass"
