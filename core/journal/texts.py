"""What operators read of an entry, Korean and English: a title for every kind, then who, what and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.journal.chain import Entry
from gwanje.core.requests import REASONS, Code

TITLES: Mapping[str, tuple[str, str]] = {
    "journal_opened": ("일지 열림", "journal opened"),
    "journal_repaired": ("일지의 찢긴 끝을 잘라 냄", "torn end of the journal cut"),
    "journal_set_aside": ("변조된 일지를 따로 보관", "tampered journal set aside"),
    "journal_signed": ("일지 서명", "journal signed"),
    "journal_segment": ("일지 새 파일 시작", "journal continues in a new file"),
    "entries_lost": ("기록하지 못한 항목", "entries lost"),
    "entry_unwritable": ("기록할 수 없는 항목", "entry that cannot be written"),
    "part_started": ("프로세스 시작", "part started"),
    "part_stopped": ("프로세스 멈춤", "part stopped"),
    "part_ended": ("프로세스가 죽음", "part died"),
    "command_requested": ("명령 요청", "command requested"),
    "command_accepted": ("명령 수락", "command accepted"),
    "command_confirmed": ("동작 확인됨", "command confirmed"),
    "command_refused": ("명령 거부", "command refused"),
    "command_expired": ("명령 만료", "command expired"),
    "command_timed_out": ("명령 응답 없음", "command timed out"),
    "command_awaits_second": ("명령, 두 번째 사람 대기", "command awaits a second person"),
    "command_cancelled": ("명령 취소", "command cancelled"),
    "commands_muted": ("거부가 많아 묶어서 기록", "refusals told together"),
    "points_given_back": ("점 반환", "points given back"),
    "lease_granted": ("임대 부여", "lease granted"),
    "lease_refused": ("임대 거부", "lease refused"),
    "lease_narrowed": ("임대 축소", "lease narrowed"),
    "lease_widened": ("임대 확대", "lease widened"),
    "lease_released": ("임대 종료", "lease released"),
    "lease_expired": ("임대 만료", "lease expired"),
    "lease_restored": ("재시작 후 임대 유지", "lease kept over a restart"),
    "alarm_changed": ("경보 상태 변화", "alarm changed"),
    "alarm_acknowledged": ("경보 인지", "alarm acknowledged"),
    "alarm_store_set_aside": ("손상된 경보 파일을 따로 보관", "damaged alarm file set aside"),
    "alarm_reset": ("경보 복귀 조작", "alarm reset"),
    "alarm_shelved": ("경보 보류", "alarm shelved"),
    "alarm_unshelved": ("경보 보류 해제", "alarm unshelved"),
    "alarm_out_of_service": ("경보 사용 중지", "alarm taken out of service"),
    "alarm_back_in_service": ("경보 사용 재개", "alarm back in service"),
    "value_substituted": ("값 대체", "value substituted"),
    "value_blocked": ("값 고정", "value blocked"),
    "value_restored": ("값 대체·고정 해제", "value restored"),
    "override_ended": ("값 대체·고정 시간 끝", "override ended"),
    "overrides_lost": ("값 대체·고정 상태를 잃음", "overrides lost"),
    "clock_stepped": ("시계 건너뜀", "clock stepped"),
    "clock_doubted": ("시계를 믿을 수 없음", "clock doubted"),
    "clock_trusted": ("시계를 다시 믿음", "clock trusted again"),
    "remote_admitted": ("다른 기기 접속", "another machine admitted"),
    "remote_refused": ("다른 기기 접속 거부", "another machine refused"),
    "request_refused": ("요청 거부", "request refused"),
    "request_failed": ("프로그램 오류로 요청 실패", "request failed by an error of the program"),
    "gate_changed": ("현장 쓰기 차단문", "gate to the site"),
    "tuning_changed": ("조정값 변경", "tuning changed"),
    "replay_started": ("재생 시작", "replay started"),
    "replay_ended": ("재생 끝", "replay ended"),
    "listen_in_started": ("청취 시작", "listen-in started"),
    "listen_in_ended": ("청취 끝", "listen-in ended"),
    "talk_started": ("육성 방송 시작", "live speech started"),
    "talk_ended": ("육성 방송 끝", "live speech ended"),
    "safety_tag_placed": ("안전 태그 부착", "safety tag placed"),
    "safety_tag_removed": ("안전 태그 제거", "safety tag removed"),
    "safety_tag_overdue": ("안전 태그 검토 기한 지남", "safety tag overdue"),
    "safety_tags_set_aside": ("손상된 안전 태그 파일을 따로 보관", "damaged safety tags set aside"),
    "signed_in": ("로그인", "signed in"),
    "sign_in_failed": ("로그인 실패", "sign-in failed"),
    "sign_ins_refused": ("로그인 시도가 많아 묶어서 기록", "sign-ins told together"),
    "signed_out": ("로그아웃", "signed out"),
    "session_locked": ("화면 잠금", "session locked"),
    "session_unlocked": ("화면 잠금 해제", "session unlocked"),
    "user_changed": ("사용자 변경", "user changed"),
    "users_unreadable": ("사용자 파일을 읽을 수 없음", "users cannot be read"),
    "area_taken": ("관할 인수", "area taken"),
    "area_forced": ("관할 강제 인수", "area taken by force"),
    "area_handed_over": ("관할 인계 완료", "area handed over"),
    "area_offered": ("관할 인계 요청", "area offered"),
    "area_released": ("관할 해제", "area released"),
}
"""Title of each :class:`EntryKind`; one without a title fails ``tests/core/journal/test_texts.py``."""

_SUBJECTS = (
    "point", "alarm_id", "group", "area", "scope", "name", "part", "node", "camera", "file", "parameter", "points",
)  # fmt: skip
"""Members that say what an entry is about; the first that is there is shown."""
_ACTORS = ("author", "user", "by", "holder")
_LABELS: Mapping[str, tuple[str, str]] = {
    "state": ("상태", "state"),
    "safety": ("종류", "kind"),
    "readback": ("되읽은 값", "readback"),
    "read_only": ("차단", "read-only"),
    "by": ("한 사람", "by"),
    "to": ("받는 사람", "to"),
    "from": ("이전", "from"),
    "second": ("두 번째 사람", "second"),
    "console": ("자리", "console"),
    "for_s": ("시간(초)", "for s"),
    "ttl_s": ("유효(초)", "ttl s"),
    "n_points": ("포인트 수", "points"),
    "what": ("내용", "what"),
    "why": ("까닭", "why"),
    "code": ("거부", "refused"),
    "detail": ("자세히", "detail"),
    "reason": ("사유", "reason"),
    "n": ("수", "n"),
    "refused": ("거부 수", "refusals"),
    "cut_bytes": ("잘린 바이트", "bytes cut"),
    "n_unsigned": ("서명되지 않은 항목", "unsigned entries"),
    "of_kind": ("종류", "of kind"),
    "signal": ("신호", "signal"),
    "exit_code": ("종료 코드", "exit code"),
    "hung": ("응답 없음", "hung"),
}
"""Members shown behind the subject, in this order, with their labels."""
_SHOWN_MAX = 160
"""Longest member on a line; the whole entry is in the export."""


def title(kind: str, lang: str) -> str:
    """Title of a kind; the kind itself when this version does not know it."""
    return TITLES[kind][lang == "en"] if kind in TITLES else kind


def describe(entry: Entry, lang: str) -> str:
    """An entry as one line for operators, without number and time.

    Args:
        entry: what to tell.
        lang: ``ko`` or ``en``.
    """
    data = entry.data
    words = [title(entry.kind, lang)]
    subject = next((key for key in _SUBJECTS if data.get(key)), "")
    actor = next((key for key in _ACTORS if data.get(key)), "")
    if subject:
        words.append(_shown(data[subject]) + _value(data))
    if actor:
        role = f" ({_shown(data['role'])})" if data.get("role") else ""
        words.append(_shown(data[actor]) + role)
    for key, labels in _LABELS.items():
        silent = data.get(key) in ("", None, []) or (key == "n_unsigned" and not data[key])
        if key in data and key not in (subject, actor) and not silent:
            shown = _reason(data[key], lang) if key == "code" else _shown(data[key])
            if key == "code" and entry.kind == "command_confirmed":
                labels = _LABELS["why"]  # it was done; the code says why another value is read back
            words.append(f"{labels[lang == 'en']}: {shown}")
    return " · ".join(words)


def _value(data: Mapping[str, Any]) -> str:
    if "value" not in data:
        return ""
    unit = f" {_shown(data['unit'])}" if data.get("unit") else ""
    return f" ← {_shown(data['value'])}{unit}"


def _reason(code: Any, lang: str) -> str:
    """Operator text of a refusal's code."""
    try:
        return REASONS[Code(code)][lang == "en"]
    except (ValueError, KeyError):
        return _shown(code)


def _shown(value: Any) -> str:
    """A member as text without anything that a terminal would obey."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return f"{value:g}"
    text = ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
    text = "".join(sign if sign.isprintable() else "·" for sign in text)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
