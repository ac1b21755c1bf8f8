"""``gwanje alarms``: the core's answers as lines, in Korean and English."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from alarms.test_service import ESS, PV, SHELVE, Desk, storm

from gwanje.core.cli import alarms as command
from gwanje.core.cli.alarms import WORDS, Lines, padded, seconds
from gwanje.core.cli.main import main
from gwanje.core.cli.parsing import CommandError

CHUNGBUK = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.look(jincheon__ess1__online=0.0)
    desk.look(1.0, jincheon__pv1__online=0.0)
    desk.ask("shelve", **SHELVE, for_s=1_800)
    return desk


class Terminal:
    """Asks a table of the tests instead of a running core; what is refused raises as the real one does."""

    desk: Desk
    who = "kim:supervisor"

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self.lines = Lines(chosen.lang, "Asia/Seoul")

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        answer = Terminal.desk.ask(op, Terminal.who, **more)
        if answer.get("outcome") == "refused":
            raise CommandError(self.lines.text(answer, "text"))
        return answer

    def show(self, answer: Any, lines: Any) -> int:
        print(json.dumps(answer) if self._chosen.json else "\n".join(lines))
        return 0


@pytest.fixture
def typed(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(command, "_Terminal", Terminal)
    Terminal.desk = desk

    def run(*words: str) -> tuple[int, str]:
        code = main(["alarms", *words, "--site", str(CHUNGBUK)])
        seen = capsys.readouterr()
        return code, seen.out + seen.err

    return run


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_what_stands_and_what_is_hidden_with_why(typed: Any, lang: str) -> None:
    _, out = typed("list", "--lang", lang)
    lines = out.splitlines()
    assert lines[0].startswith("▲ " + WORDS[lang]["unack_active"])
    assert f"(lost:{PV})" in lines[0]
    assert lines[1].startswith("▲ " + WORDS[lang]["shelved"])
    assert "kim" in lines[2]
    assert "meter is being changed" in lines[2]
    assert "01-01 09:30:01" in lines[2], "local time of the shelf's end"


def test_presented_shelved_and_figures(typed: Any) -> None:
    _, out = typed("presented")
    assert out.splitlines()[-1] == "발생 1 · 묶음 0 · 보류 1"
    _, out = typed("shelved")
    assert "30 min 남음" in out
    _, out = typed("kpis", "--lang", "en")
    assert "alarms in the last 10 min      2" in out
    _, out = typed("kpis", "--json")
    assert json.loads(out)["rate_per_10_min"] == 2


def test_acting(typed: Any) -> None:
    for words, state in (
        (("ack", f"lost:{PV}"), "ack_active"),
        (("shelve", f"lost:{PV}", "--reason", "work", "--for", "2h"), "shelved"),
        (("unshelve", f"lost:{PV}", "--reason", "done"), "unack_active"),
        (("out-of-service", f"lost:{PV}", "--reason", "new part", "--for", "2d"), "out_of_service"),
        (("return", f"lost:{PV}", "--reason", "done"), "unack_active"),
    ):
        code, out = typed(*words)
        assert code == 0
        assert WORDS["ko"][state] in out
    code, out = typed("reset", f"lost:{ESS}")
    assert code == 2
    assert "이 경보의 현재 상태에서는 할 수 없습니다" in out


def test_a_flood_in_lines(tmp_path: Path) -> None:
    desk = storm(tmp_path, 60, 14)
    desk.look(1.0, **{f"jincheon__dev{index}__online": 0.0 for index in range(60)})
    lines = Lines("ko", "Asia/Seoul").presented(desk.ask("presented"))
    assert lines[0].startswith("홍수 60건 · 원인 후보 ")
    named = [line for line in lines if line.lstrip().startswith("■")]
    assert sum(f"(lost:jincheon.dev{index}.online)" in "".join(named) for index in range(14)) == 14


def test_times_and_widths() -> None:
    assert [seconds(one) for one in ("90s", "30m", "2h", "1.5d")] == [90.0, 1_800.0, 7_200.0, 129_600.0]
    for bad in ("", "5", "5x", "m"):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(bad)
    assert len(padded("경보", 6)) == 4
    assert WORDS["ko"].keys() == WORDS["en"].keys()
