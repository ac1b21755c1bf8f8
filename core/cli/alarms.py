"""``gwanje alarms``: what stands, what is presented, what is hidden and why; acknowledging, shelving, key figures."""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from gwanje.core.alarms.operations import SERVICE_S, SHELVE_S
from gwanje.core.bus.bus import Bus
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import SystemClock
from gwanje.core.site.local_time import SiteTime

PAGES_MAX = 100
"""Pages of a list that are asked for: more alarms than a site may define."""
TIMEOUT_MS = 5_000
MARKS = {1: "■", 2: "▲", 3: "▼", 4: "◆"}
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

WORDS = {
    "ko": {
        "unack_active": "미인지", "ack_active": "인지됨", "unack_returned": "복귀·미인지", "latched": "래치",
        "shelved": "보류", "suppressed": "억제", "out_of_service": "사용 중지", "maintenance": "정비", "normal": "정상",
        "nothing": "경보 없음", "none_hidden": "보류되거나 사용 중지된 경보 없음", "first": "최초", "flood": "홍수",
        "left": "남음", "cause": "원인 후보", "done": "처리됨", "one_shot": "복귀까지", "by": "담당",
        "hint_login": "`gwanje login 이름`으로 로그인하십시오", "standing": "발생", "folded": "묶음",
        "cause_word": "원인", "consequence_word": "영향", "response_word": "조치",
        "refused": "거부됨", "urgent_left": "긴급 경보와 그 뒤에 온 경보는 하나씩 인지하십시오",
    },
    "en": {
        "unack_active": "unacknowledged", "ack_active": "acknowledged", "unack_returned": "returned, unack.",
        "latched": "latched", "shelved": "shelved", "suppressed": "suppressed", "out_of_service": "out of service",
        "maintenance": "maintenance", "normal": "normal", "nothing": "no alarms",
        "none_hidden": "no alarm is shelved or out of service", "first": "1st", "flood": "flood", "left": "left",
        "cause": "may come from", "done": "done", "one_shot": "until it returns", "by": "by",
        "hint_login": "sign in with `gwanje login NAME`", "standing": "standing", "folded": "folded",
        "cause_word": "cause", "consequence_word": "consequence", "response_word": "do",
        "refused": "refused", "urgent_left": "acknowledge urgent alarms, and those that came since, one by one",
    },
}  # fmt: skip

FIGURES = (
    ("rate_per_10_min", "최근 10분 경보", "alarms in the last 10 min", "{:.0f}"),
    ("raised_24_h", "최근 24시간 경보", "alarms in the last 24 h", "{:.0f}"),
    ("flood_pct", "홍수 시간 비율 %", "time in flood %", "{:.2f}"),
    ("n_standing", "발생 중", "standing", "{:.0f}"),
    ("n_unacknowledged", "미인지", "unacknowledged", "{:.0f}"),
    ("n_stale", "24시간 넘게 지속", "standing for over 24 h", "{:.0f}"),
    ("n_shelved", "보류", "shelved", "{:.0f}"),
    ("n_suppressed", "설계 억제", "suppressed by design", "{:.0f}"),
    ("n_out_of_service", "사용 중지", "out of service", "{:.0f}"),
    ("acknowledged", "인지한 경보", "acknowledgements", "{:.0f}"),
    ("ack_mean_s", "인지까지 평균 초", "mean time to acknowledge, s", "{:.1f}"),
    ("ack_p95_s", "인지까지 95 % 초", "95 % time to acknowledge, s", "{:.1f}"),
)


def add(commands: Commands) -> None:
    """Add the group."""
    group = commands.group("alarms", "alarms: what stands, acknowledging, shelving, key figures")
    one_alarm = [
        ("ack", _ack, "acknowledge an alarm, or a whole group with --group"),
        ("reset", _reset, "reset a latched alarm"),
        ("shelve", _shelve, "hide an alarm for a while (10m to 8h)"),
        ("unshelve", _unshelve, "end a shelf"),
        ("out-of-service", _out, "take an alarm out of service (supervisors; at most 7d)"),
        ("return", _return, "return an alarm to service (supervisors)"),
    ]
    made = {name: group.add(name, run, text) for name, run, text in one_alarm}
    made["list"] = group.add("list", _list, "every alarm that stands or is hidden, with why")
    made["show"] = group.add("show", _show, "one alarm with its cause, its consequence and what to do")
    made["show"].add_argument("alarm_id", metavar="ALARM")
    made["presented"] = group.add("presented", _presented, "what operators are shown: at most ten rows")
    made["shelved"] = group.add("shelved", _shelved, "what people have hidden, with the time that is left")
    made["kpis"] = group.add("kpis", _kpis, "key figures of the alarm system")
    for name, _run, _text in one_alarm:
        made[name].add_argument("alarm_id", metavar="ALARM")
    made["ack"].add_argument("--group", action="store_true", help="ALARM is the id of a presented group")
    for name in ("shelve", "unshelve", "out-of-service", "return"):
        made[name].add_argument("--reason", required=True, help="for the journal and the next shift")
    made["shelve"].add_argument("--for", dest="for_s", type=seconds, default=SHELVE_S, metavar="TIME",
                                help="such as 10m, 2h (default: 30m)")  # fmt: skip
    made["shelve"].add_argument("--once", action="store_true", help="only until the alarm has returned")
    made["out-of-service"].add_argument("--for", dest="for_s", type=seconds, default=SERVICE_S, metavar="TIME",
                                        help="such as 8h, 2d (default: 8h)")  # fmt: skip
    for sub in made.values():
        with_lang(sub)
        sub.add_argument("--json", action="store_true")
        with_site(sub)


def seconds(text: str) -> float:
    """A time such as ``90s``, ``30m``, ``2h`` or ``1d``.

    Raises:
        ArgumentTypeError: it is none.
    """
    number, unit = text[:-1], text[-1:]
    try:
        return float(number) * UNITS_S[unit]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m or 2h") from None


class Lines:
    """Turns the core's answers into lines in one language and one time zone."""

    def __init__(self, lang: str, zone: str) -> None:
        self.words = WORDS[lang]
        self._lang = lang
        self._clock = SiteTime(zone)

    def text(self, one: dict[str, Any], key: str) -> str:
        """``key`` in the language."""
        return str(one.get(f"{key}_{self._lang}", ""))

    def time(self, utc_ns: int) -> str:
        """When, on the site's clock, with milliseconds."""
        return self._clock.milli(utc_ns)

    def alarm(self, one: dict[str, Any]) -> str:
        """One alarm in one line."""
        first = f" [{self.words['first']}]" if one.get("first_out") else ""
        state = self.words[one["state"]]
        line = (
            f"{MARKS[one['priority']]} {padded(state, 16)} {self.time(one['onset_utc_ns'] or one['utc_ns'])} "
            f"{self.text(one, 'text')}{first}  ({one['alarm_id']})"
        )
        if not one["hidden_by"]:
            return line
        until = f"~{self._clock.second(one['hidden_until_utc_ns'])}" if one["hidden_until_utc_ns"] else ""
        told = [self.words[one["phase"]], one["hidden_author"], until, self.text(one, "why")]
        return f"{line}\n    {' · '.join(part for part in told if part)}"

    def group(self, one: dict[str, Any]) -> list[str]:
        """A group of alarms; every urgent one is named."""
        counts = " ".join(f"{MARKS[index + 1]}{n}" for index, n in enumerate(one["by_priority"]) if n)
        cause = f" · {self.words['cause']} {self.text(one, 'cause')}" if self.text(one, "cause") else ""
        head = f"{MARKS[one['priority']]} {self.text(one, 'text')}{cause}  {counts}  ({one['id']})"
        return [head, *(f"    ■ {self.text(urgent, 'text')}  ({urgent['alarm_id']})" for urgent in one["urgent"])]

    def presented(self, answer: dict[str, Any]) -> list[str]:
        """The presented rows under the banner."""
        lines = [self.text(answer, "banner")] if answer["flood"] else []
        for row in answer["presented"]:
            lines += [self.alarm(row["alarm"])] if row["kind"] == "alarm" else self.group(row["group"])
        if not answer["presented"]:
            lines.append(self.words["nothing"])
        hidden = {key: answer[f"n_{key}"] for key in ("shelved", "suppressed", "out_of_service")}
        sums = [f"{self.words['standing']} {answer['n_presented']}", f"{self.words['folded']} {answer['n_folded']}"]
        sums += [f"{self.words[key]} {n}" for key, n in hidden.items() if n]
        return [*lines, " · ".join(sums)]

    def shelved(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """What is hidden by people, with the countdown."""
        lines = []
        for one in rows:
            left = f"{one['left_s'] / 60:.0f} min {self.words['left']}" if one["until_utc_ns"] else ""
            once = f" ({self.words['one_shot']})" if one["one_shot"] else ""
            lines.append(
                f"{MARKS[one['priority']]} {padded(self.words[one['kind']], 14)} {padded(left + once, 28)} "
                f"{self.text(one, 'text')} · {one['author']}: {one['reason']}  ({one['alarm_id']})"
            )
        return lines or [self.words["none_hidden"]]

    def figures(self, answer: dict[str, Any]) -> list[str]:
        """Key figures, one a line."""
        ko = self._lang == "ko"
        lines = []
        for key, name_ko, name_en, shape in FIGURES:
            told = "–" if key.startswith("ack_") and not answer["acknowledged"] else shape.format(answer[key])
            lines.append(f"{padded(name_ko if ko else name_en, 30)} {told}")
        share = " ".join(f"{MARKS[index + 1]}{one:.0f}%" for index, one in enumerate(answer["priority_share_pct"]))
        lines.append(f"{padded('우선순위 비율' if ko else 'priority share', 30)} {share}")
        if answer["flood"]:
            lines.append(f"** {self.words['flood']} **")
        lines += [f"top  {one['n']:>6}  {one['alarm_id']}" for one in answer["top"]]
        for one in answer["chattering"]:
            proposal = f"on_delay_s = {one['on_delay_s']:g}"
            lines.append(f"{'되풀이' if ko else 'chatters'}  {one['per_min']}/min  {one['alarm_id']}  → {proposal}")
        return lines


def padded(text: str, width: int) -> str:
    """Text filled to a number of columns; Korean letters take two."""
    taken = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return text + " " * max(0, width - taken)


class _Terminal:
    """One question after the other to the running core."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        site, self._run_dir, _info = attached(chosen)
        self._chosen = chosen
        self.lines = Lines(chosen.lang, site.timezone)
        self._bus = Bus(self._run_dir, "cli", SystemClock())

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        """An answer.

        Raises:
            CommandError: it was refused; the text says why.
        """
        message = {"op": op, "session": read_token(self._run_dir), **more}
        answer = self._bus.request("alarms", message, TIMEOUT_MS)
        if answer.get("outcome") == "refused":
            needs = answer.get("code") in ("not_signed_in", "session_over")
            hint = f"; {self.lines.words['hint_login']}" if needs else ""
            raise CommandError(f"{self.lines.words['refused']}: {self.lines.text(answer, 'text')}{hint}")
        return answer

    def show(self, answer: Any, lines: Iterable[str]) -> int:
        """Print an answer and let go of the bus."""
        self._bus.close()
        print(json.dumps(answer, ensure_ascii=False) if self._chosen.json else "\n".join(lines))
        return 0


def _all(terminal: _Terminal) -> list[dict[str, Any]]:
    """Every alarm that stands or is hidden, page after page."""
    found: list[dict[str, Any]] = []
    for _ in range(PAGES_MAX):
        page = terminal.ask("list", offset=len(found))
        found += page["alarms"]
        if not page["alarms"] or len(found) >= page["n"]:
            break
    return found


def _show(chosen: argparse.Namespace) -> int:
    terminal = _Terminal(chosen)
    one = next((one for one in _all(terminal) if one["alarm_id"] == chosen.alarm_id), None)
    if one is None:
        raise CommandError(f"no alarm {chosen.alarm_id!r} stands or is hidden; see `gwanje alarms list`")
    lines = terminal.lines
    told = [f"  {lines.words[f'{key}_word']}: {lines.text(one, key)}" for key in ("cause", "consequence", "response")]
    return terminal.show(one, [lines.alarm(one), *told])


def _list(chosen: argparse.Namespace) -> int:
    terminal = _Terminal(chosen)
    found = _all(terminal)
    lines = [terminal.lines.alarm(one) for one in found] or [terminal.lines.words["nothing"]]
    return terminal.show({"alarms": found, "n": len(found)}, lines)


def _presented(chosen: argparse.Namespace) -> int:
    terminal = _Terminal(chosen)
    answer = terminal.ask("presented")
    return terminal.show(answer, terminal.lines.presented(answer))


def _shelved(chosen: argparse.Namespace) -> int:
    terminal = _Terminal(chosen)
    answer = terminal.ask("shelved")
    return terminal.show(answer, terminal.lines.shelved(answer["shelved"]))


def _kpis(chosen: argparse.Namespace) -> int:
    terminal = _Terminal(chosen)
    answer = terminal.ask("kpis")
    return terminal.show(answer, terminal.lines.figures(answer))


def _act(chosen: argparse.Namespace, op: str, **more: Any) -> int:
    terminal = _Terminal(chosen)
    answer = terminal.ask(op, alarm_id=chosen.alarm_id, **more)
    return terminal.show(answer, [terminal.lines.alarm(answer["alarm"])])


def _ack(chosen: argparse.Namespace) -> int:
    if not chosen.group:
        return _act(chosen, "ack")
    terminal = _Terminal(chosen)
    answer = terminal.ask("ack_group", group=chosen.alarm_id)
    left = f" · {answer['left']}: {terminal.lines.words['urgent_left']}" if answer["left"] else ""
    return terminal.show(answer, [f"{terminal.lines.words['done']}: {answer['n']}{left}"])


def _reset(chosen: argparse.Namespace) -> int:
    return _act(chosen, "reset")


def _shelve(chosen: argparse.Namespace) -> int:
    return _act(chosen, "shelve", reason=chosen.reason, for_s=chosen.for_s, one_shot=chosen.once)


def _unshelve(chosen: argparse.Namespace) -> int:
    return _act(chosen, "unshelve", reason=chosen.reason)


def _out(chosen: argparse.Namespace) -> int:
    return _act(chosen, "out_of_service", reason=chosen.reason, for_s=chosen.for_s)


def _return(chosen: argparse.Namespace) -> int:
    return _act(chosen, "return_to_service", reason=chosen.reason)
