"""One operation from its selection to its end, as the person at this desk goes through it. Pure: no clock, no bus.

::

    idle ─ select ▶ selecting ─▶ selected ─ check ▶ checking ─▶ checked ─ execute ▶ executing ─▶ running ─▶ done
                        │            ▲                │            │                   │    └▶ second ┘  │
                        ▼            └── another value typed ──────┘                   ▼                 ▼
                      failed ◀─────────────────────────────────────────────────────── failed ◀──── failed

A selection ends by itself at its deadline. Nothing here decides whether something is allowed: the core does, and says
why not. What is decided here is only what this person still has to do before ``execute`` may be asked for at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from gwanje.hmi.desk.picture import Operation
from gwanje.hmi.desk.worker import Answer
from gwanje.hmi.display.model import Label

SEEN_NS_MAX = 2_000_000_000
"""Older than this, what stands on the screen is no ground for an operation; the core draws the same line."""
LINES_MAX = 12
"""Interlocks, warnings or tags that a faceplate lists."""


class Stage(StrEnum):
    """Where the operation stands."""

    IDLE = "idle"
    SELECTING = "selecting"
    SELECTED = "selected"
    CHECKING = "checking"
    CHECKED = "checked"
    EXECUTING = "executing"
    SECOND = "awaiting_second"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


BEFORE_EXECUTE = frozenset({Stage.SELECTING, Stage.SELECTED, Stage.CHECKING, Stage.CHECKED})
UNDER_WAY = frozenset({Stage.EXECUTING, Stage.SECOND, Stage.RUNNING})
STATES = ("selected", "sent", "accepted", "moving", "confirmed", "refused", "timed_out", "expired", "awaiting_second",
          "cancelled")  # fmt: skip
"""Words of the core for the state of an operation."""
ENDED = frozenset({"confirmed", "refused", "timed_out", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What stood on the screen when the person decided.

    Attributes:
        value: in the tag's unit; NaN when there was none.
        mono_ns: how old it was known to be: when it arrived.
        sound: neither bad nor stale.
    """

    value: float
    mono_ns: int
    sound: bool

    def fresh(self, now_mono_ns: int) -> bool:
        """Whether it is recent enough to act upon."""
        return self.sound and 0 <= now_mono_ns - self.mono_ns <= SEEN_NS_MAX


@dataclass(frozen=True, slots=True)
class Interlock:
    """A condition between this operation and the plant."""

    name: str
    text: Label
    blocks: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """What the core says of the point when it is selected.

    Attributes:
        view: tag whose value the person must have seen.
        mode: state of the equipment in which it may be operated; blocks while it is in another; None for any state.
        lease: program that writes the point now; empty for none.
    """

    select_id: str
    point: str
    until_mono_ns: int
    unit: str
    low: float
    high: float
    soft_low: float
    soft_high: float
    class_name: str
    view: str
    confirm_within_s: float
    interlocks: tuple[Interlock, ...]
    tags: tuple[Label, ...]
    mode: Interlock | None
    lease: str
    retype: bool
    two_person: bool


def read_selection(content: Mapping[str, Any]) -> Selection:
    """Of an answer ``selected``.

    Raises:
        ValueError: it is none.
    """
    try:
        interlocks = tuple(
            Interlock(str(one["id"]), _label(one), bool(one["blocks"]))
            for one in (content.get("interlocks") or ())[:LINES_MAX]
        )
        return Selection(
            str(content["select_id"]), str(content["point"]), int(content["until_mono_ns"]),
            str(content.get("unit") or ""), _number(content, "low", float("-inf")),
            _number(content, "high", float("inf")), _number(content, "soft_low", float("-inf")),
            _number(content, "soft_high", float("inf")), str(content.get("class") or ""),
            str(content.get("view") or content["point"]),
            _number(content, "confirm_within_s", 0.0), interlocks,
            tuple(_tag(one) for one in (content.get("safety_tags") or ())[:LINES_MAX]),
            _mode(content.get("mode")), str(content.get("lease") or ""),
            bool(content.get("retype")), bool(content.get("two_person")),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no selection: {error}") from None


def _number(content: Mapping[str, Any], key: str, default: float) -> float:
    value = content.get(key)
    return default if value is None else float(value)


def _label(entry: Mapping[str, Any]) -> Label:
    ko, en = str(entry.get("text_ko") or ""), str(entry.get("text_en") or "")
    return Label(ko or en, en or ko)


def _tag(entry: Mapping[str, Any]) -> Label:
    return Label(str(entry.get("kind") or ""), str(entry.get("reason") or ""))


def _mode(value: Any) -> Interlock | None:
    if not isinstance(value, Mapping):
        return None
    label = _label(value)
    return Interlock("mode", label, not value.get("allowed")) if label.ko else None


@dataclass(frozen=True, slots=True)
class Procedure:
    """The operation at this desk.

    Attributes:
        point: of the operation; empty while idle.
        stage: where it stands.
        selection: what the core said when it was selected.
        value: as the core echoed it at the check, in the tag's unit.
        warnings: of the check; each must be accepted.
        command_id: of the command sent.
        state: the core's word for the command's state.
        code: why it failed.
        reason: why it failed, for people; empty where the code says it.
    """

    point: str = ""
    stage: Stage = Stage.IDLE
    selection: Selection | None = None
    value: float = float("nan")
    warnings: tuple[Label, ...] = ()
    command_id: str = ""
    state: str = ""
    code: str = ""
    reason: Label = field(default_factory=lambda: Label("", ""))

    def select(self, point: str) -> Procedure:
        """The person asks for the point."""
        return Procedure(point, Stage.SELECTING)

    def selected(self, answer: Answer) -> Procedure:
        """The core's answer to the selection."""
        if self.stage is not Stage.SELECTING:
            return self
        if answer.outcome != "selected":
            return self._failed(answer)
        try:
            return replace(self, stage=Stage.SELECTED, selection=read_selection(answer.content))
        except ValueError as error:
            return replace(self, stage=Stage.FAILED, code="malformed", reason=Label(str(error), str(error)))

    def check(self) -> Procedure:
        """The person wants to know what the core thinks of a value."""
        return replace(self, stage=Stage.CHECKING, warnings=())

    def checked(self, answer: Answer) -> Procedure:
        """The core's answer to the check; a refusal leaves the point selected, for another value."""
        if self.stage is not Stage.CHECKING:
            return self
        if answer.outcome != "checked":
            return replace(self._failed(answer), stage=Stage.SELECTED)
        warnings = answer.content.get("warnings") or ()
        try:
            value, labels = float(answer.content["value"]), tuple(_label(one) for one in warnings[:LINES_MAX])
        except (KeyError, TypeError, ValueError, AttributeError):
            return replace(self, stage=Stage.SELECTED, code="malformed", reason=Label("", ""))
        return replace(self, stage=Stage.CHECKED, value=value, warnings=labels, code="", reason=Label("", ""))

    def edited(self) -> Procedure:
        """Another value was typed: what was checked counts no more."""
        return replace(self, stage=Stage.SELECTED, warnings=()) if self.stage is Stage.CHECKED else self

    def missing(
        self, now_mono_ns: int, seen: Seen, reason: str, retyped: str, name: str, accepted: bool
    ) -> str:
        """What still stands between the person and ``execute``, as a key of the text tables; empty for nothing.

        Args:
            now_mono_ns: for the age of what was seen.
            seen: what stands on the screen.
            reason: typed for the journal.
            retyped: what was typed as the object's name.
            name: of the object.
            accepted: whether the warnings were accepted.
        """
        if self.stage is not Stage.CHECKED or self.selection is None:
            return "missing.check"  # the core's check looks at limits, interlocks, mode and tags
        if not seen.fresh(now_mono_ns):
            return "missing.stale"
        if self.warnings and not accepted:
            return "missing.warnings"
        if not reason.strip():
            return "missing.reason"
        if self.selection.retype and retyped.strip() != name:
            return "missing.retype"
        return ""

    def execute(self, command_id: str) -> Procedure:
        """The person wants it done."""
        return replace(self, stage=Stage.EXECUTING, command_id=command_id, state="sent", code="", reason=Label("", ""))

    def executed(self, answer: Answer) -> Procedure:
        """The core's answer to the execution; the states that follow come with :meth:`follow`."""
        if self.stage is not Stage.EXECUTING:
            return self
        match answer.outcome:
            case "accepted":
                return replace(self, stage=Stage.RUNNING, state="accepted")
            case "confirmed":
                return replace(self, stage=Stage.DONE, state="confirmed")
            case "awaiting_second":
                return replace(self, stage=Stage.SECOND, state="awaiting_second")
        return self._failed(answer)

    def follow(self, operations: tuple[Operation, ...]) -> Procedure:
        """Take over what the core says of the command since."""
        if self.stage not in UNDER_WAY or not self.command_id:
            return self
        own = next((one for one in operations if one.command_id == self.command_id), None)
        if own is None or own.state not in STATES or own.state == self.state:
            return self
        stage = Stage.RUNNING
        if own.state == "awaiting_second":
            stage = Stage.SECOND
        elif own.state in ENDED:
            stage = Stage.DONE if own.state == "confirmed" else Stage.FAILED
        return replace(self, stage=stage, state=own.state, reason=own.text)

    def tick(self, now_mono_ns: int) -> Procedure:
        """A selection that was not used in time is over."""
        over = self.selection is not None and now_mono_ns >= self.selection.until_mono_ns
        if over and self.stage in BEFORE_EXECUTE:
            return replace(self, stage=Stage.FAILED, state="expired", code="", reason=Label("", ""))
        return self

    def left_s(self, now_mono_ns: int) -> int:
        """Whole seconds that the selection has left; 0 without one."""
        if self.selection is None or self.stage not in BEFORE_EXECUTE:
            return 0
        return max(0, -(-(self.selection.until_mono_ns - now_mono_ns) // 1_000_000_000))

    def _failed(self, answer: Answer) -> Procedure:
        state = answer.outcome if answer.outcome in ("expired", "timed_out") else "refused"
        code = answer.code or ("" if answer.outcome in ("refused", "expired", "timed_out") else answer.outcome)
        return replace(
            self, stage=Stage.FAILED, state=state, code=code, reason=Label(answer.text_ko, answer.text_en)
        )
