"""``gwanje operate held`` as a person reads it, against a run directory whose core only says who holds what."""

import fcntl
import json
import os

import pytest

from gwanje.core.city.run_dir import RunInfo
from gwanje.core.cli.main import main
from gwanje.core.clock import NS_PER_S, SystemClock, boot_id
from gwanje.core.commands.operator_client import OperatorClient
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

SITE = '[site]\nid = "t"\nname_ko = "시"\nname_en = "T"\nconnection_rating_w = 1000\nparts = ["core"]\n'
TAGS = """
[[tag]]
name = "a.b.limit_w"
unit = "W"
owner = "control"
kind = "setpoint"
low = -5
high = 1000
decimals = 1
ko = "한도"
en = "Limit"
"""


@pytest.fixture
def held(tmp_path, monkeypatch, capsys):
    root, run = tmp_path / "site", tmp_path / "run"
    (root / "tags").mkdir(parents=True)
    (root / "site.toml").write_text(SITE, encoding="utf-8")
    (root / "tags" / "t.toml").write_text(TAGS, encoding="utf-8")
    run.mkdir()
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a running city holds it
    site, clock = load_site(root), SystemClock()
    RunInfo(1, str(root), str(tmp_path), 1, 1, boot_id()).write(run)
    store = TagStore.create(run / "tags", site.tags)
    index, now = site.tags.index("a.b.limit_w"), clock.mono_ns()
    store.writer("control").write_one(index, 12.34, Quality.GOOD, clock.utc_ns(), now)

    def ask(answer, *more):
        monkeypatch.setattr(OperatorClient, "ask", lambda _self, _op: answer)
        code = main(["operate", "held", *more, "--lang", "en", "--site", str(root), "--run", str(run)])
        return code, capsys.readouterr()

    hold = {"point": "a.b.limit_w", "author": "kim", "since_mono_ns": now, "until_mono_ns": now + 3_600 * NS_PER_S}
    yield ask, hold
    os.close(lock)


def test_what_people_hold_is_listed_with_value_author_and_times(held):
    ask, hold = held
    code, said = ask({"holds": [hold]})
    assert code == 0
    assert said.out.startswith("a.b.limit_w = 12.3 W  kim  ")
    assert said.out.count("KST") == 2
    (row,) = json.loads(ask({"holds": [hold]}, "--json")[1].out)
    assert (row["point"], row["value"], row["author"]) == ("a.b.limit_w", 12.34, "kim")
    assert row["since_utc"] < row["until_utc"]


def test_nothing_held_and_no_answer_are_said(held):
    ask, _hold = held
    assert ask({"holds": []})[1].out == "nothing\n"
    code, said = ask({"outcome": "timed_out"})
    assert (code, "no answer" in said.err) == (1, True)
