"""The core's services as the screen meets them, on a virtual clock: the same ops, members and codes, without a bus.

One :class:`FakeCore` serves any number of consoles, so that two of them can get in each other's way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock

S = 1_000_000_000
SELECT_S = 30
SEEN_S = 2.0
TEXTS = {
    "wrong_password": ("사용자 이름 또는 암호가 틀립니다", "user name or password is wrong"),
    "session_over": ("로그인이 끝났습니다", "the session is over"),
    "session_locked": ("화면이 잠겨 있습니다", "the session is locked"),
    "not_signed_in": ("로그인하지 않았습니다", "nobody is signed in"),
    "role_not_allowed": ("이 역할은 명령할 수 없습니다", "this role may not command"),
    "area_held": ("다른 사람이 구역을 가지고 있습니다", "somebody else holds the area"),
    "area_not_held": ("구역 조작권이 없습니다", "the area is not held by this session"),
    "reserved_by_other": ("다른 사람이 선택하여 조작 중입니다", "somebody else has selected or operates it"),
    "stale_view": ("화면에서 본 값이 오래되었습니다", "what the author saw is too old"),
    "value_changed": ("화면에서 본 값이 그 사이 바뀌었습니다", "the value has changed since it was seen"),
    "not_selected": ("선택이 없거나 만료되었습니다", "the selection is not there or has expired"),
    "value_not_checked": ("확인한 값과 다른 값입니다", "the value is not the one that was checked"),
    "out_of_range": ("값이 허용 범위를 벗어났습니다", "the value is outside the point's limits"),
    "warnings_not_accepted": ("경고를 확인하지 않았습니다", "the warnings were not accepted"),
    "not_retyped": ("점 이름을 다시 입력해야 합니다", "the point's name must be typed again"),
    "second_not_allowed": ("두 번째 확인자가 될 수 없습니다", "this person cannot be the second"),
    "safety_tag": ("안전 태그로 조작이 금지되었습니다", "a safety tag forbids it"),
    "interlock": ("인터록으로 차단되었습니다", "an interlock blocks it"),
    "malformed": ("명령 형식이 잘못되었습니다", "the command is malformed"),
    "unknown_alarm": ("그런 경보가 없습니다", "there is no such alarm"),
}


def refused(code: str, detail: str = "") -> dict[str, Any]:
    ko, en = TEXTS[code]
    more = f" ({detail})" if detail else ""
    return {"outcome": "refused", "code": code, "detail": detail, "text_ko": ko + more, "text_en": en + more}


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Refuse(Exception):
    def __init__(self, code: str, detail: str = "") -> None:
        self.answer = refused(code, detail)
        super().__init__(code)


@dataclass
class Who:
    user: str
    role: str
    session_id: str
    console: str
    locked: bool = False


@dataclass
class FakePoint:
    name: str
    area: str
    unit: str
    low: float
    high: float
    soft: tuple[float, float]
    view: str
    steps: str = "select"
    retype: bool = False
    two_person: bool = False
    interlocks: list[dict[str, Any]] = field(default_factory=list)
    lease: str = ""


def points() -> dict[str, FakePoint]:
    return {
        one.name: one
        for one in (
            FakePoint("control.tie.import_setpoint_w", "microgrid", "W", -2.5e6, 2.5e6, (-1e6, 2e6),
                      "control.tie.import_setpoint_w"),
            FakePoint("grid.breaker.close_command", "microgrid", "", 0, 1, (-math.inf, math.inf),
                      "grid.breaker.closed", "critical", retype=True),
            FakePoint("jincheon.ess1.manual_discharge_w", "jincheon", "W", -5e5, 5e5, (-2.5e5, 2.5e5),
                      "jincheon.ess1.discharge_w", lease="control"),
            FakePoint("eumseong.ess2.manual_discharge_w", "eumseong", "W", -5e5, 5e5, (-2.5e5, 2.5e5),
                      "eumseong.ess2.discharge_w", lease="control"),
            FakePoint("jincheon.pv_roof.generation_limit", "jincheon", "", 0, 1, (0.2, math.inf),
                      "jincheon.pv_roof.generation_limit"),
        )
    }  # fmt: skip


@dataclass
class FakeCore:
    """Answers :meth:`request`; what it keeps may be looked at and changed by a test.

    Attributes:
        silent: services that do not answer.
        asked: every (service, op) in order.
        rows: what is presented; None for a core that does not present anything.
        values: what the core itself reads of each view; a view that differs is refused.
    """

    clock: VirtualClock
    users: dict[str, tuple[str, str]] = field(default_factory=lambda: {
        "김하늘": ("정답", "operator"), "이바다": ("정답", "operator"), "박산": ("정답", "supervisor"),
        "guest": ("open", "viewer"),
    })  # fmt: skip
    points: dict[str, FakePoint] = field(default_factory=points)
    hidden: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    sessions: dict[str, Who] = field(default_factory=dict)
    locks_after_s: float = 900.0
    areas: dict[str, dict[str, Any]] = field(default_factory=dict)
    selected: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    recent: list[dict[str, Any]] = field(default_factory=list)
    safety: list[dict[str, Any]] = field(default_factory=list)
    holds: list[dict[str, Any]] = field(default_factory=list)
    overridden: list[dict[str, Any]] = field(default_factory=list)
    shelf: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] | None = None
    flood: bool = False
    n_active: int = 0
    banner: tuple[str, str] = ("", "")
    done: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        for area_id, ko, en in (
            ("streets", "거리 (조명·마이크)", "Streets (lamps, microphones)"),
            ("traffic", "교통 신호", "Traffic signals"),
            ("microgrid", "마이크로그리드", "Microgrid"), ("jincheon", "진천", "Jincheon"),
            ("eumseong", "음성", "Eumseong"), ("system", "시스템", "System"),
        ):  # fmt: skip
            self.areas[area_id] = {
                "id": area_id, "name_ko": ko, "name_en": en, "holder": "", "role": "", "session_id": "", "console": "",
                "since_utc_ns": 0, "expires_in_s": None, "offered_to": "",
            }  # fmt: skip

    def request(self, service: str, message: dict[str, Any], _timeout_ms: int = 0) -> dict[str, Any]:
        """As :meth:`gwanje.core.bus.bus.Bus.request`."""
        op = str(message["op"])
        self.asked.append((service, op))
        if service in self.silent:
            raise RequestTimeoutError(f"service {service!r} did not answer")
        self.messages.append(message)
        serve: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"{service}_{op}")
        try:
            return serve(message)
        except Refuse as no:
            return no.answer

    def _who(self, message: dict[str, Any], locked: bool = False) -> Who:
        if not message.get("session"):
            raise Refuse("not_signed_in")
        who = self.sessions.get(message["session"])
        if who is None:
            raise Refuse("session_over")
        if who.locked and not locked:
            raise Refuse("session_locked")
        return who

    def _next(self) -> str:
        self.number += 1
        return f"{self.number:04d}"

    # ------------------------------------------------------------------------------------------------------ session

    def session_sign_in(self, message: dict[str, Any]) -> dict[str, Any]:
        password, role = self.users.get(message["user"], ("", ""))
        if not password or password != message["password"]:
            raise Refuse("wrong_password")
        number = self._next()
        who = self.sessions[f"secret-{number}"] = Who(message["user"], role, number, message["console"])
        return {"outcome": "signed_in", "session": f"secret-{number}", "session_id": number, "user": who.user,
                "role": role, "locks_after_s": self.locks_after_s, "expires_after_s": 43_200.0}  # fmt: skip

    def session_sign_out(self, message: dict[str, Any]) -> dict[str, Any]:
        who = self._who(message, locked=True)
        del self.sessions[message["session"]]
        for area in self.areas.values():
            if area["session_id"] == who.session_id:
                self._give(area, None)
        return {"outcome": "signed_out"}

    def session_lock(self, message: dict[str, Any]) -> dict[str, Any]:
        self._who(message).locked = True
        return {"outcome": "locked"}

    def session_unlock(self, message: dict[str, Any]) -> dict[str, Any]:
        who = self._who(message, locked=True)
        if message["password"] != self.users[who.user][0]:
            raise Refuse("wrong_password")
        who.locked = False
        return {"outcome": "unlocked"}

    def session_touch(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": "touched", "session_id": self._who(message).session_id}

    def session_who(self, message: dict[str, Any]) -> dict[str, Any]:
        who = self._who(message, locked=True)
        held = [key for key, one in self.areas.items() if one["session_id"] == who.session_id]
        return {"outcome": "principal", "user": who.user, "role": who.role, "session_id": who.session_id,
                "console": who.console, "locked": who.locked, "areas": held, "locks_in_s": 612.0}  # fmt: skip

    def session_sessions(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"sessions": [
            {"user": who.user, "role": who.role, "session_id": who.session_id, "console": who.console,
             "locked": who.locked, "since_utc_ns": 0} for who in self.sessions.values()
        ], "n_users": len(self.users)}  # fmt: skip

    def session_areas(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"areas": [dict(one) for one in self.areas.values()]}

    def _give(self, area: dict[str, Any], who: Who | None) -> dict[str, Any]:
        area |= {"holder": who.user if who else "", "role": who.role if who else "", "offered_to": "",
                 "session_id": who.session_id if who else "", "console": who.console if who else "",
                 "expires_in_s": 3_600.0 if who else None}  # fmt: skip
        return {"outcome": "area", "area": dict(area)}

    def session_take_area(self, message: dict[str, Any]) -> dict[str, Any]:
        who, area = self._who(message), self.areas[message["area"]]
        if who.role == "viewer":
            raise Refuse("role_not_allowed")
        forced = message.get("force") and who.role == "supervisor"
        if area["session_id"] not in ("", who.session_id) and not forced:
            raise Refuse("area_held", area["holder"])
        return self._give(area, who)

    def session_release_area(self, message: dict[str, Any]) -> dict[str, Any]:
        self._held(self._who(message), message["area"])
        return self._give(self.areas[message["area"]], None)

    def session_hand_over(self, message: dict[str, Any]) -> dict[str, Any]:
        self._held(self._who(message), message["area"])
        area = self.areas[message["area"]]
        area["offered_to"] = message["to"]
        return {"outcome": "area", "area": dict(area)}

    def session_accept_area(self, message: dict[str, Any]) -> dict[str, Any]:
        who, area = self._who(message), self.areas[message["area"]]
        if area["offered_to"] != who.user:
            raise Refuse("area_held", area["holder"])
        return self._give(area, who)

    def _held(self, who: Who, area: str) -> None:
        if self.areas[area]["session_id"] != who.session_id:
            raise Refuse("area_not_held", area)

    # ------------------------------------------------------------------------------------------------------ command

    def _hung(self, point: str) -> list[dict[str, Any]]:
        device = point.split(".")[1]
        return [one for one in self.safety if one["scope"] == point or one["scope"].endswith(f".{device}")]

    def command_select(self, message: dict[str, Any]) -> dict[str, Any]:
        who, point = self._who(message), self.points[message["point"]]
        if who.role == "viewer":
            raise Refuse("role_not_allowed", who.role)
        self._held(who, point.area)
        tags = self._hung(point.name)
        if any(one["kind"] == "danger" for one in tags):
            raise Refuse("safety_tag", tags[0]["reason"])
        held = next((one for one in self._alive() if one["point"] == point.name), None)
        if held is not None and held["session_id"] != who.session_id:
            raise Refuse("reserved_by_other", held["author"])
        number, until = self._next(), self.clock.mono_ns() + SELECT_S * S
        self.selected[number] = {
            "select_id": number, "point": point.name, "author": who.user, "session_id": who.session_id,
            "console": who.console, "until_mono_ns": until, "since_mono_ns": self.clock.mono_ns(), "checked": None,
        }  # fmt: skip
        return {
            "outcome": "selected", "select_id": number, "point": point.name, "until_mono_ns": until,
            "value": self.values.get(point.view, 0.0), "quality": 0, "unit": point.unit, "low": point.low,
            "high": point.high, "soft_low": finite(point.soft[0]), "soft_high": finite(point.soft[1]),
            "class": point.steps,
            "confirm_within_s": 5.0, "interlocks": point.interlocks, "safety_tags": tags, "lease": point.lease,
            "retype": point.retype, "two_person": point.two_person, "view": point.view, "readback": point.view,
            "kind": "setting", "ramp_per_s": 0.0, "mode": None, "seen_mono_ns": self.clock.mono_ns(),
        }  # fmt: skip

    def _alive(self) -> list[dict[str, Any]]:
        now = self.clock.mono_ns()
        self.selected = {key: one for key, one in self.selected.items() if one["until_mono_ns"] > now}
        return [*self.selected.values(), *self.running.values()]

    def _selection(self, message: dict[str, Any]) -> dict[str, Any]:
        self._alive()
        found = self.selected.get(message["select_id"])
        if found is None:
            raise Refuse("not_selected")
        return found

    def command_check(self, message: dict[str, Any]) -> dict[str, Any]:
        self._who(message)
        selection = self._selection(message)
        point, value = self.points[selection["point"]], float(message["value"])
        if not point.low <= value <= point.high:
            raise Refuse("out_of_range", f"{value:g}, {point.low:g} … {point.high:g} {point.unit}")
        if any(one["blocks"] for one in point.interlocks):
            raise Refuse("interlock", point.interlocks[0]["id"])
        selection["checked"], warnings = value, []
        if not point.soft[0] <= value <= point.soft[1]:
            warnings.append({"text_ko": "운전 한계를 벗어난 값입니다", "text_en": "the value is beyond the soft limit"})
        if point.lease:
            warnings.append({"text_ko": "자동 제어에서 이 점이 빠집니다",
                             "text_en": "this takes the point from automatic control"})  # fmt: skip
        return {"outcome": "checked", "value": value, "warnings": warnings}

    def command_execute(self, message: dict[str, Any]) -> dict[str, Any]:
        who, selection = self._who(message), self._selection(message)
        point, now = self.points[selection["point"]], self.clock.mono_ns()
        if selection["checked"] != message["value"]:
            raise Refuse("value_not_checked")
        if not 0 <= now - message["seen_mono_ns"] <= SEEN_S * S:
            raise Refuse("stale_view", f"{(now - message['seen_mono_ns']) / S:.1f} s")
        if point.view in self.values and self.values[point.view] != message["seen_value"]:
            raise Refuse("value_changed")
        if point.retype and message.get("retyped") != point.name:
            raise Refuse("not_retyped")
        if not message["reason"] or message["unit"] != point.unit:
            raise Refuse("malformed", "reason")
        del self.selected[selection["select_id"]]
        state = "awaiting_second" if point.two_person else "accepted"
        self.running[message["command_id"]] = {
            "command_id": message["command_id"], "point": point.name, "value": message["value"], "author": who.user,
            "session_id": who.session_id, "console": who.console, "state": state, "since_mono_ns": now,
            "until_mono_ns": now + SELECT_S * S,
        }  # fmt: skip
        return {"outcome": state, "command_id": message["command_id"], "until_mono_ns": now + SELECT_S * S}

    def command_second(self, message: dict[str, Any]) -> dict[str, Any]:
        who, one = self._who(message), self.running.get(message["command_id"])
        if one is None or one["author"] == who.user:
            raise Refuse("second_not_allowed")
        if (message["point"], message["value"]) != (one["point"], one["value"]):
            raise Refuse("echo_mismatch")
        one["state"] = "accepted"
        return {"outcome": "accepted", "command_id": one["command_id"]}

    def move(self, state: str) -> None:
        """The plant has moved: every running command comes into a state."""
        for key, one in list(self.running.items()):
            one["state"] = state
            if state in ("confirmed", "refused", "timed_out", "expired", "cancelled"):
                self.recent.append(self.running.pop(key))

    def command_cancel(self, message: dict[str, Any]) -> dict[str, Any]:
        self.selected.pop(message["select_id"], None)
        return {"outcome": "cancelled"}

    def command_operations(self, _message: dict[str, Any]) -> dict[str, Any]:
        self._alive()
        shown = [{key: value for key, value in one.items() if key not in ("select_id", "checked")}
                 for one in self.selected.values()]  # fmt: skip
        return {"selected": shown, "running": [dict(one) for one in self.running.values()],
                "recent": [dict(one) for one in self.recent]}  # fmt: skip

    def command_leases(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"boot": "b", "leases": [], "holds": [dict(one) for one in self.holds]}

    def command_give_back(self, message: dict[str, Any]) -> dict[str, Any]:
        self._who(message)
        self.holds = [one for one in self.holds if one["point"] not in message["points"]]
        return {"outcome": "released", "name": ", ".join(message["points"])}

    def command_place_tag(self, message: dict[str, Any]) -> dict[str, Any]:
        who = self._who(message)
        tag = {"tag_id": self._next(), "scope": message["scope"], "kind": message["kind"], "author": who.user,
               "reason": message["reason"], "placed_utc_ns": self.clock.utc_ns(),
               "review_utc_ns": self.clock.utc_ns() + round(message["review_s"] * S)}  # fmt: skip
        self.safety.append(tag)
        return {"outcome": "done", "tag_id": tag["tag_id"]}

    def command_remove_tag(self, message: dict[str, Any]) -> dict[str, Any]:
        self._who(message)
        self.safety = [one for one in self.safety if one["tag_id"] != message["tag_id"]]
        return {"outcome": "done"}

    def command_safety_tags(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"safety_tags": [dict(one) for one in self.safety]}

    # ---------------------------------------------------------------------------------------------------- overrides

    def _override(self, message: dict[str, Any], kind: str) -> dict[str, Any]:
        who = self._who(message)
        self.overridden = [one for one in self.overridden if one["point"] != message["point"]]
        self.overridden.append({
            "point": message["point"], "kind": kind, "value": message.get("value"), "author": who.user,
            "reason": message["reason"], "until_utc_ns": self.clock.utc_ns() + round(message["for_s"] * S),
            "left_s": message["for_s"],
        })  # fmt: skip
        return {"outcome": "done"}

    def overrides_substitute(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._override(message, "substituted")

    def overrides_block(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._override(message, "blocked")

    def overrides_restore(self, message: dict[str, Any]) -> dict[str, Any]:
        self._who(message)
        self.overridden = [one for one in self.overridden if one["point"] != message["point"]]
        return {"outcome": "done"}

    def overrides_overrides(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"overrides": [dict(one) for one in self.overridden]}

    # ------------------------------------------------------------------------------------------------------- alarms

    def alarms_presented(self, _message: dict[str, Any]) -> dict[str, Any]:
        if self.rows is None:
            raise RequestTimeoutError("nothing is presented yet")
        return {"presented": self.rows, "flood": self.flood, "n_active": self.n_active,
                "n_folded": max(0, self.n_active - len(self.rows)), "banner_ko": self.banner[0],
                "banner_en": self.banner[1], **self.hidden}  # fmt: skip

    def alarms_shelved(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {"shelved": [dict(one) for one in self.shelf]}

    def _changed(self, message: dict[str, Any]) -> dict[str, Any]:
        who = self._who(message)
        if who.role == "viewer":
            raise Refuse("role_not_allowed", who.role)
        self.done.append({**message, "by": who.user})
        return {"outcome": "done", "alarm": {}}

    alarms_ack = alarms_ack_group = alarms_reset = alarms_unshelve = _changed
    alarms_return_to_service = _changed

    def _shelve(self, message: dict[str, Any], kind: str) -> dict[str, Any]:
        answer = self._changed(message)
        self.shelf.append({
            "alarm_id": message["alarm_id"], "author": self._who(message).user, "reason": message["reason"],
            "until_utc_ns": self.clock.utc_ns() + round(message["for_s"] * S), "left_s": message["for_s"],
            "one_shot": message.get("one_shot", False), "kind": kind,
        })  # fmt: skip
        return answer

    def alarms_shelve(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._shelve(message, "shelved")

    def alarms_out_of_service(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._who(message).role != "supervisor":
            raise Refuse("role_not_allowed")
        return self._shelve(message, "out_of_service")
