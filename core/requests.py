"""What every service of the core shares: reading the members of a request, and refusing it with a reason.

A request is a msgpack map. Whoever reads one takes its members with the functions here; what is missing or not what it
should be raises :class:`RequestError`, which names the code and the member. A refusal carries a :class:`Code`, and the
code's texts are what operators read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gwanje.core.authority.principal import Role

TEXT_MAX = 400
"""Longest reason: four lines on a screen."""
NAME_MAX = 128
"""Longest tag name, author, area, unit or id."""


class Code(StrEnum):
    """Why something was refused."""

    MALFORMED = "malformed"
    NOT_SIGNED_IN = "not_signed_in"
    SESSION_OVER = "session_over"
    SESSION_LOCKED = "session_locked"
    WRONG_PASSWORD = "wrong_password"
    TRY_LATER = "try_later"
    SESSIONS = "too_many_sessions"
    UNKNOWN_SESSION = "unknown_session"
    UNKNOWN_AREA = "unknown_area"
    AREA_NOT_HELD = "area_not_held"
    AREA_HELD_BY_OTHER = "area_held_by_other"
    AREA_NOT_ALLOWED = "area_not_allowed"
    AREA_NOT_OFFERED = "area_not_offered"
    NO_AREA = "point_of_no_area"
    NO_AUTHOR = "no_author"
    NOT_FROM_CORE = "not_from_core"
    ROLE = "role_not_allowed"
    REPLAYED = "replayed"
    UNKNOWN_POINT = "unknown_point"
    NOT_WRITABLE = "not_writable"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    WRONG_UNIT = "wrong_unit"
    EXPIRY = "expiry_not_allowed"
    STALE_VIEW = "stale_view"
    READ_ONLY = "read_only"
    RATE = "too_many_commands"
    BUSY = "busy"
    JOURNAL = "journal_unwritable"
    STATE = "state_unwritable"
    OWNER = "refused_by_owner"
    SHARE = "group_share"
    LEASED = "leased_by_other"
    HELD = "held_by_operator"
    UNKNOWN_LEASE = "unknown_lease"
    LEASE_POINTS = "lease_points"
    LEASE_TTL = "lease_ttl_out_of_range"
    LEASE_NOT_HELD = "lease_not_held"
    NEEDS_SELECT = "needs_select"
    NOT_SELECTED = "not_selected"
    RESERVED = "reserved_by_other"
    ECHO = "value_not_checked"
    WARNINGS = "warnings_not_accepted"
    RETYPE = "not_retyped"
    SECOND = "second_not_allowed"
    SAFETY_TAG = "safety_tag"
    INTERLOCK = "interlock"
    MODE = "mode_not_allowed"
    RAMP = "ramp_too_long"
    VALUE_CHANGED = "value_changed"
    BLIND = "present_value_not_good"
    COOL_DOWN = "cool_down"
    SUPERSEDED = "superseded"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_TAG = "unknown_safety_tag"
    TOO_MANY = "too_many"
    UNKNOWN_ALARM = "unknown_alarm"
    ALARM_STATE = "alarm_state"
    NOT_OVERRIDABLE = "not_overridable"
    NOT_OVERRIDDEN = "not_overridden"
    UNKNOWN_SOUND = "unknown_sound_place"
    SOUND_TAKEN = "sound_taken"
    SOUNDING = "loudspeaker_sounds"
    GRANT_OVER = "grant_over"
    NO_SOUND = "no_sound"
    INTERNAL = "internal"


REASONS: Mapping[Code, tuple[str, str]] = {
    Code.MALFORMED: ("명령 형식이 잘못되었습니다", "the command is malformed"),
    Code.NOT_SIGNED_IN: ("로그인하지 않았습니다", "nobody is signed in"),
    Code.SESSION_OVER: ("로그인이 끝났습니다", "the session is over"),
    Code.SESSION_LOCKED: ("화면이 잠겨 있습니다", "the session is locked"),
    Code.WRONG_PASSWORD: ("사용자 이름 또는 암호가 틀립니다", "user name or password is wrong"),
    Code.TRY_LATER: ("로그인 실패가 많아 잠시 기다려야 합니다", "too many failed attempts: wait"),
    Code.SESSIONS: ("로그인한 화면이 너무 많습니다", "too many sessions"),
    Code.UNKNOWN_SESSION: ("그런 로그인이 없습니다", "nobody of that name or session is signed in"),
    Code.UNKNOWN_AREA: ("그런 관할 구역이 없습니다", "the site has no such area"),
    Code.AREA_NOT_HELD: ("관할 구역을 맡고 있지 않습니다", "the area of authority is not held"),
    Code.AREA_HELD_BY_OTHER: ("다른 사람이 맡은 관할 구역입니다", "somebody else holds the area of authority"),
    Code.AREA_NOT_ALLOWED: ("이 사용자가 맡을 수 없는 관할 구역입니다", "this user may not take the area"),
    Code.AREA_NOT_OFFERED: ("인계받을 수 있는 관할 구역이 아닙니다", "the area is not offered"),
    Code.NO_AREA: ("관할 구역이 없는 점은 감독자부터 조작합니다", "a point of no area needs a supervisor"),
    Code.NO_AUTHOR: ("명령한 사람이 적혀 있지 않습니다", "the command names no author"),
    Code.NOT_FROM_CORE: ("코어가 보낸 명령이 아닙니다", "the core did not send this command"),
    Code.ROLE: ("이 역할은 명령할 수 없습니다", "this role may not command"),
    Code.REPLAYED: ("이미 받은 명령입니다", "this command was received before"),
    Code.UNKNOWN_POINT: ("그런 점이 없습니다", "there is no such point"),
    Code.NOT_WRITABLE: ("명령할 수 없는 점입니다", "this point cannot be commanded"),
    Code.NOT_FINITE: ("값이 유한한 수가 아닙니다", "the value is not a finite number"),
    Code.OUT_OF_RANGE: ("값이 허용 범위를 벗어났습니다", "the value is outside the point's limits"),
    Code.WRONG_UNIT: ("단위가 다릅니다", "the unit is not the point's"),
    Code.EXPIRY: ("명령의 유효 시간이 잘못되었습니다", "the command's times are not allowed"),
    Code.STALE_VIEW: ("화면에서 본 값이 오래되었습니다", "what the author saw is too old"),
    Code.READ_ONLY: ("현장 쓰기가 차단되어 있습니다", "the site is read-only"),
    Code.RATE: ("이 점에 명령이 너무 잦습니다", "too many commands to this point"),
    Code.BUSY: ("처리 중인 명령이 너무 많습니다", "too many commands are under way"),
    Code.JOURNAL: ("일지를 쓸 수 없습니다", "journal cannot be written"),
    Code.STATE: ("상태를 저장할 수 없습니다", "the state cannot be kept"),
    Code.OWNER: ("담당 프로세스가 거부했습니다", "the owner of the point refused"),
    Code.SHARE: ("그룹 몫이 더 작아 그만큼만 충전합니다", "its group's share is less: it keeps that"),
    Code.LEASED: ("다른 쪽이 임대한 점입니다", "the point is leased by somebody else"),
    Code.HELD: ("운영자가 수동으로 잡은 점입니다", "a person holds the point"),
    Code.UNKNOWN_LEASE: ("그런 임대가 없습니다", "the site has no such lease"),
    Code.LEASE_POINTS: ("임대할 점이 잘못되었습니다", "the lease's points are not allowed"),
    Code.LEASE_TTL: ("임대 시간이 허용 범위를 벗어났습니다", "the lease's time to live is not allowed"),
    Code.LEASE_NOT_HELD: ("가지고 있지 않은 임대입니다", "the lease is not held"),
    Code.NEEDS_SELECT: ("먼저 선택해야 하는 점입니다", "the point must be selected first"),
    Code.NOT_SELECTED: ("선택이 없거나 만료되었습니다", "the selection is not there or has expired"),
    Code.RESERVED: ("다른 사람이 선택하여 조작 중입니다", "somebody else has selected or operates it"),
    Code.ECHO: ("확인한 값과 다른 값입니다", "the value is not the one that was checked"),
    Code.WARNINGS: ("경고를 확인하지 않았습니다", "the warnings were not accepted"),
    Code.RETYPE: ("점 이름을 다시 입력해야 합니다", "the point's name must be typed again"),
    Code.SECOND: ("두 번째 확인자가 될 수 없습니다", "this person cannot be the second"),
    Code.SAFETY_TAG: ("안전 태그로 조작이 금지되었습니다", "a safety tag forbids it"),
    Code.INTERLOCK: ("인터록으로 차단되었습니다", "an interlock blocks it"),
    Code.MODE: ("현재 상태에서는 조작할 수 없습니다", "not allowed in the present mode"),
    Code.RAMP: ("변화 속도 한계로 제때 도달할 수 없습니다", "the ramp cannot reach it in time"),
    Code.VALUE_CHANGED: ("화면에서 본 값이 그 사이 바뀌었습니다", "the value has changed since it was seen"),
    Code.BLIND: ("현재 값의 품질이 나빠 결과를 볼 수 없습니다", "the present value is not good"),
    Code.COOL_DOWN: ("방금 조작한 점입니다", "the point was operated a moment ago"),
    Code.SUPERSEDED: ("더 새로운 명령으로 대체되었습니다", "a newer command has taken its place"),
    Code.UNKNOWN_COMMAND: ("진행 중인 명령이 아닙니다", "no such command is under way"),
    Code.UNKNOWN_TAG: ("그런 안전 태그가 없습니다", "there is no such safety tag"),
    Code.UNKNOWN_ALARM: ("그런 경보가 없습니다", "there is no such alarm"),
    Code.ALARM_STATE: ("이 경보의 현재 상태에서는 할 수 없습니다", "not possible in the alarm's present state"),
    Code.TOO_MANY: ("한도를 넘었습니다", "the limit of their number is reached"),
    Code.NOT_OVERRIDABLE: ("대체하거나 고정할 수 없는 값입니다", "this value cannot be substituted or blocked"),
    Code.UNKNOWN_SOUND: ("들을 수 있는 마이크나 말할 수 있는 카메라가 아닙니다", "nobody can listen or speak there"),
    Code.SOUND_TAKEN: ("이미 듣거나 말하고 있는 사람이 있습니다", "somebody listens or speaks already"),
    Code.SOUNDING: ("스피커에서 방송이 나가고 있습니다", "the loudspeaker is in use"),
    Code.GRANT_OVER: ("청취·방송 시간이 끝났습니다", "listening or speaking is over"),
    Code.NO_SOUND: ("지금 이 마이크의 소리가 없습니다", "there is no sound of this node now"),
    Code.INTERNAL: ("프로그램 오류로 처리하지 못했습니다", "it failed by an error of the program"),
    Code.NOT_OVERRIDDEN: ("대체되거나 고정된 값이 아닙니다", "the value is neither substituted nor blocked"),
}
"""Operator texts of each code, Korean and English."""


_HANGUL = re.compile("[가-힣]")


class RequestError(ValueError):
    """A request that cannot be taken; carries the code to refuse it with."""

    def __init__(self, code: Code, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{REASONS[code][1]}: {detail}" if detail else REASONS[code][1])


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and why."""

    code: Code
    detail: str = ""
    command_id: str = ""

    @property
    def text_ko(self) -> str:
        """For operators."""
        return f"{REASONS[self.code][0]} ({in_each(self.detail)[0]})" if self.detail else REASONS[self.code][0]

    @property
    def text_en(self) -> str:
        """For operators, in English."""
        return f"{REASONS[self.code][1]} ({in_each(self.detail)[1]})" if self.detail else REASONS[self.code][1]


def in_each(detail: str) -> tuple[str, str]:
    """A detail that says it twice, Korean / English, taken apart; any other is the same in both languages.

    >>> in_each("계측값이 낡음 / values are too old"), in_each("ess1 / ess2")
    (('계측값이 낡음', 'values are too old'), ('ess1 / ess2', 'ess1 / ess2'))
    """
    ko, slash, en = detail.partition(" / ")
    return (ko, en) if slash and _HANGUL.search(ko) and not _HANGUL.search(en) else (detail, detail)


def refusal(code: Code, detail: str = "") -> dict[str, Any]:
    """A refusal as every service of the core answers it."""
    refused = Refused(code, detail)
    return {
        "outcome": "refused", "code": str(code), "detail": detail,
        "text_ko": refused.text_ko, "text_en": refused.text_en,
    }  # fmt: skip


def plain_op(message: Mapping[str, Any]) -> str:
    """What a request asks for, as a log or an entry can hold it whatever it says."""
    op = message.get("op")
    return "".join(sign if sign.isprintable() else "·" for sign in op[:NAME_MAX]) if isinstance(op, str) else ""


def take_text(message: Mapping[str, Any], key: str, longest: int = NAME_MAX, empty: bool = False) -> str:
    """A text member of a message.

    Raises:
        RequestError: it is missing, empty or too long.
    """
    value = message.get(key, "" if empty else None)
    if not isinstance(value, str) or len(value) > longest or not (empty or value.strip()) or not value.isprintable():
        raise RequestError(Code.MALFORMED, f"{key} must be one line of text of at most {longest} letters")
    return value


def take_role(message: Mapping[str, Any]) -> Role:
    """The role member of a message.

    Raises:
        RequestError: it is none.
    """
    try:
        return Role(message["role"])
    except (KeyError, ValueError, TypeError):
        raise RequestError(Code.ROLE, f"role {message.get('role')!r}"[:NAME_MAX]) from None


def take_author(message: Mapping[str, Any]) -> str:
    """The author member of a message.

    Raises:
        RequestError: nobody is named.
    """
    if not message.get("author"):
        raise RequestError(Code.NO_AUTHOR, "author is missing")
    return take_text(message, "author")


def take_points(message: Mapping[str, Any], most: int) -> tuple[str, ...]:
    """The points member of a message.

    Raises:
        RequestError: it is no list of names.
    """
    points = message.get("points")
    if not isinstance(points, (list, tuple)) or not all(
        isinstance(one, str) and 0 < len(one) <= NAME_MAX and one.isprintable() for one in points
    ):
        raise RequestError(Code.MALFORMED, "points must be a list of tag names")
    if len(points) > most:
        raise RequestError(Code.LEASE_POINTS, f"{len(points)} points, at most {most}")
    return tuple(points)


def take_whole(message: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number ≥ 0 of a message.

    Raises:
        RequestError: it is missing or none.
    """
    value = message.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise RequestError(Code.MALFORMED, f"{key} must be a whole number of nanoseconds")
    return value


def take_number(message: Mapping[str, Any], key: str) -> float:
    """A finite number of a message.

    Raises:
        RequestError: it is missing, no number, or not finite.
    """
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RequestError(Code.MALFORMED, f"{key} must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RequestError(Code.NOT_FINITE, f"{key} is {number}")
    return number


