"""The desk: who sits here, what the core says about people and operations, and every request of this screen.

All methods are called in the GUI thread and return at once. The session's secret lives here and nowhere else: it is in
no message that is shown, no log and no file.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.hmi.desk import picture
from gwanje.hmi.desk.procedure import ENDED, UNDER_WAY, Procedure, Seen, Stage
from gwanje.hmi.desk.session import Notice, Session
from gwanje.hmi.desk.worker import NO_ANSWER, Answer, Then, Worker
from gwanje.hmi.display.model import Label

EXPIRES_S = 5
"""A command that has not arrived within this is not wanted any more."""
NOTICE_NS = 12 * NS_PER_S
"""How long the answer to a request stands in the header."""

_EVERY_NS = {
    ("session", "areas"): NS_PER_S,
    ("session", "sessions"): 5 * NS_PER_S,
    ("command", "operations"): NS_PER_S,
    ("command", "safety_tags"): 2 * NS_PER_S,
    ("command", "leases"): 2 * NS_PER_S,
    ("overrides", "overrides"): 2 * NS_PER_S,
    ("alarms", "presented"): NS_PER_S,
    ("alarms", "shelved"): 2 * NS_PER_S,
}
"""Service and op → how often it is asked; what moves is asked at once besides."""
_WHO_NS = NS_PER_S
_QUICK_NS = NS_PER_S // 4
"""How often operations are asked for while one of this desk's runs."""
_TOUCH_NS = 20 * NS_PER_S
"""How often the core hears that somebody types; a desk locks after many minutes."""
_SILENT_NS = 5 * NS_PER_S
"""How often a service is asked that did not answer the last time."""


@dataclass(slots=True)
class _Poll:
    next_mono_ns: int = 0
    waiting: bool = False


@dataclass(slots=True)
class Desk:
    """See the module.

    Attributes:
        worker: asks the core.
        clock: the machine's clocks.
        console: name of this seat, as others see it.
        session: who is signed in; None for nobody.
        procedure: the operation under way at this desk.
        presented: the last answer of ``alarms`` / ``presented``; None before one came.
        n_users: how many users the site has; None before an answer said so.
        lost: the core is silent: what is shown is old, and nothing can be operated.
        read_only: the gate of commands is closed: nothing is written to the site.
        gate_words: who closed it and why, where that is known.
        generation: raised with every change of what is shown.
    """

    worker: Worker
    clock: Clock
    console: str
    session: Session | None = None
    areas: tuple[picture.Area, ...] = ()
    people: tuple[picture.Person, ...] = ()
    n_users: int | None = None
    operations: tuple[picture.Operation, ...] = ()
    safety_tags: tuple[picture.SafetyTag, ...] = ()
    overrides: tuple[picture.Override, ...] = ()
    manual: tuple[picture.Hold, ...] = ()
    shelved: tuple[picture.Shelf, ...] = ()
    presented: Mapping[str, Any] | None = None
    procedure: Procedure = field(default_factory=Procedure)
    notice: Notice | None = None
    lost: bool = False
    read_only: bool = False
    gate_words: Label = field(default_factory=lambda: Label("", ""))
    generation: int = 0
    _touched_mono_ns: int = -_TOUCH_NS
    _token: str = field(default="", repr=False)
    _polls: dict[tuple[str, str], _Poll] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ once per frame

    def tick(self, now_mono_ns: int, lost: bool) -> None:
        """Take answers over and ask for what is due.

        Args:
            now_mono_ns: monotonic time of the frame.
            lost: the core is silent; then only one question is tried now and then.
        """
        self._change("lost", lost)
        self.worker.deliver()
        self._set_procedure(self.procedure.tick(now_mono_ns))
        if self.notice is not None and now_mono_ns - self.notice.mono_ns > NOTICE_NS:
            self.notice = None
            self.generation += 1
        if lost:
            return
        for key, every_ns in _EVERY_NS.items():
            quick = key[1] == "operations" and self.procedure.stage in UNDER_WAY
            self._poll(key, _QUICK_NS if quick else every_ns, now_mono_ns, {})
        if self._token:
            self._poll(("session", "who"), _WHO_NS, now_mono_ns, {"session": self._token})

    def see_gate(self, read_only: bool, words: Label) -> None:
        """What is known of the gate of commands."""
        self._change("read_only", read_only)
        self._change("gate_words", words if read_only else Label("", ""))

    def _poll(self, key: tuple[str, str], every_ns: int, now_mono_ns: int, more: dict[str, Any]) -> None:
        poll = self._polls.setdefault(key, _Poll())
        if poll.waiting or now_mono_ns < poll.next_mono_ns:
            return
        poll.waiting, poll.next_mono_ns = True, now_mono_ns + every_ns
        token = self._token

        def then(answer: Answer) -> None:
            poll.waiting = False
            if answer.outcome == NO_ANSWER:
                poll.next_mono_ns = self.clock.mono_ns() + _SILENT_NS
            elif key[1] == "who":
                if token == self._token:  # not of somebody who has left meanwhile
                    self._take_who(answer)
            elif not answer.failed:
                self._take(key[1], answer.content)

        self.worker.poll(key[0], {"op": key[1], **more}, then)

    def ask_soon(self, op: str) -> None:
        """Something has happened: ask for it with the next frame."""
        for key, poll in self._polls.items():
            if key[1] == op:
                poll.next_mono_ns = 0

    def _take(self, op: str, content: Mapping[str, Any]) -> None:
        now = self.clock.mono_ns()
        match op:
            case "areas":
                self._change("areas", picture.read_areas(content, now))
            case "sessions":
                self._change("people", picture.read_people(content))
                self._change("n_users", picture.read_n_users(content))
            case "operations":
                self._change("operations", picture.read_operations(content))
                self._set_procedure(self.procedure.follow(self.operations))
            case "safety_tags":
                self._change("safety_tags", picture.read_safety_tags(content))
            case "leases":
                self._change("manual", picture.read_holds(content))
            case "overrides":
                self._change("overrides", picture.read_overrides(content, now))
            case "shelved":
                self._change("shelved", picture.read_shelved(content, now))
            case "presented":
                self._change("presented", content)

    def _change(self, name: str, value: object) -> None:
        if getattr(self, name) != value:
            setattr(self, name, value)
            self.generation += 1

    def _set_procedure(self, procedure: Procedure) -> None:
        self._change("procedure", procedure)

    def _tell(self, key: str, answer: Answer | None = None) -> None:
        text = Label("", "") if answer is None else Label(answer.text_ko, answer.text_en)
        bad = answer is not None and answer.failed
        if bad and answer is not None and answer.outcome in (NO_ANSWER, "screen_busy", "timed_out", "expired"):
            key = f"answer.{answer.outcome}"
        self.notice = Notice(key, text, bad, self.clock.mono_ns())
        self.generation += 1

    # ---------------------------------------------------------------------------------------------------- the session

    @property
    def signed_in(self) -> bool:
        """Whether somebody is signed in, locked or not."""
        return self.session is not None

    @property
    def can_act(self) -> bool:
        """Whether somebody is signed in and the desk is not locked."""
        return self.session is not None and not self.session.locked

    def sign_in(self, user: str, password: str, then: Then) -> None:
        """Somebody sits down; who sat here before is signed out when it succeeds."""
        before = self._token

        def taken(answer: Answer) -> None:
            if answer.outcome == "signed_in":
                content = answer.content
                if before:
                    self.worker.ask("session", {"op": "sign_out", "session": before}, _nothing)
                self._token = str(content.get("session", ""))
                locks = self.clock.mono_ns() + round(float(content.get("locks_after_s") or 0) * NS_PER_S)
                self.session = Session(
                    str(content.get("user", user)), str(content.get("role", "")), str(content.get("session_id", "")),
                    locks_mono_ns=locks if content.get("locks_after_s") else picture.NEVER,
                )  # fmt: skip
                self.procedure, self.notice = Procedure(), None
                for op in ("areas", "sessions", "who"):
                    self.ask_soon(op)
                self.generation += 1
            then(answer)

        message = {"op": "sign_in", "user": user, "password": password, "console": self.console}
        self.worker.ask("session", message, taken)

    def sign_out(self) -> None:
        """Whoever sits here leaves. The screen forgets them at once, whatever the core says."""
        if self._token:
            self.worker.ask("session", {"op": "sign_out", "session": self._token}, _nothing)
        self._forget("session.signed_out")

    def lock(self) -> None:
        """Lock the desk: the screen at once, the core as soon as it hears of it."""
        if self.session is not None and not self.session.locked:
            self._cancel_selection()
            self.worker.ask("session", {"op": "lock", "session": self._token}, _nothing)
            self._lock_here()

    def unlock(self, password: str, then: Then) -> None:
        """The same person is back."""

        def taken(answer: Answer) -> None:
            if self.session is not None and not answer.failed:
                self._change("session", replace(self.session, locked=False))
                self.ask_soon("who")
            elif answer.code in ("session_over", "not_signed_in"):
                self._forget("session.over")
            then(answer)

        self.worker.ask("session", {"op": "unlock", "session": self._token, "password": password}, taken)

    def _lock_here(self) -> None:
        assert self.session is not None
        self._change("session", replace(self.session, locked=True))
        self._set_procedure(Procedure() if self.procedure.stage not in UNDER_WAY else self.procedure)

    def _forget(self, key: str) -> None:
        self._token, self.session, self.procedure = "", None, Procedure()
        self._tell(key)

    def _take_who(self, answer: Answer) -> None:
        if self.session is None:
            return
        if answer.code in ("session_over", "not_signed_in"):
            self._forget("session.over")
        elif answer.code == "session_locked":
            self._lock_here()
        elif answer.outcome == "principal":
            content = answer.content
            left = content.get("locks_in_s")
            locks = picture.NEVER if left is None else self.clock.mono_ns() + round(float(left) * NS_PER_S)
            areas = tuple(str(one) for one in content.get("areas") or ())
            if bool(content.get("locked")) and not self.session.locked:
                self._lock_here()
            told = replace(self.session, role=str(content.get("role") or self.session.role), areas=areas)
            self._change("session", told)
            # The countdown moves with every answer; that alone is no change of what is shown.
            self.session = replace(self.session, locks_mono_ns=locks)

    def locks_in_s(self, now_mono_ns: int) -> int | None:
        """Seconds until the desk locks by itself; None where it does not or is locked."""
        if self.session is None or self.session.locked or self.session.locks_mono_ns == picture.NEVER:
            return None
        return max(0, (self.session.locks_mono_ns - now_mono_ns) // NS_PER_S)

    def why_not(self, role: str = "operator", area: str = "", *, writes: bool = False) -> str:
        """Key of the text that says why this desk may not do something; empty when nothing here is against it.

        Args:
            role: the least role that may.
            area: that must be held, where it is known.
            writes: it would write to the site, which a closed gate forbids everybody.
        """
        if self.lost:
            return "why.lost"
        if writes and self.read_only:
            return "why.read_only"
        if self.session is None:
            return "why.signed_out"
        if self.session.locked:
            return "why.locked"
        if not self.session.may(role):
            return f"why.role_{role}"
        if area and area not in self.session.areas:
            return "why.area"
        return ""

    # ------------------------------------------------------------------------------------------------ requests of all

    def request(self, service: str, op: str, done: str, then: Then | None = None, **more: Any) -> None:
        """Ask for a change as the person who is signed in; the outcome stands in the header.

        Args:
            service: of the core.
            op: what is wanted.
            done: key of the text for success.
            then: called with the answer besides.
            more: members of the message.
        """

        def taken(answer: Answer) -> None:
            self._tell(done if not answer.failed else "answer.refused", answer)
            if answer.code in ("session_over", "not_signed_in"):
                self._forget("session.over")
            elif answer.code == "session_locked" and self.session is not None:
                self._lock_here()
            for poll in self._polls.values():
                poll.next_mono_ns = 0
            if then is not None:
                then(answer)

        self.worker.ask(service, {"op": op, "session": self._token, **more}, taken)

    def say(self, key: str) -> None:
        """Why something was not even asked for stands in the header."""
        self.notice = Notice(key, Label("", ""), True, self.clock.mono_ns())
        self.generation += 1

    def touch(self) -> None:
        """Somebody is at the desk: keys and mouse keep it from locking. Told now and then, not with every key."""
        now = self.clock.mono_ns()
        if self.can_act and now - self._touched_mono_ns >= _TOUCH_NS:
            self._touched_mono_ns = now
            self.worker.poll("session", {"op": "touch", "session": self._token}, self._after)

    def area_of(self, area_id: str) -> picture.Area | None:
        """An area by its id."""
        return next((one for one in self.areas if one.area_id == area_id), None)

    def holds(self, area: picture.Area) -> bool:
        """Whether this desk's session holds an area."""
        return self.session is not None and area.session_id == self.session.session_id != ""

    # ------------------------------------------------------------------------------------------------ the operation

    def select(self, point: str) -> None:
        """Reserve a point for an operation; another selection of this desk is given up."""
        self._cancel_selection()
        self._set_procedure(self.procedure.select(point))

        def taken(answer: Answer) -> None:
            if self.procedure.point == point:
                self._set_procedure(self.procedure.selected(answer))
            elif answer.outcome == "selected":  # the person went on meanwhile
                self._send("cancel", _nothing, select_id=answer.content.get("select_id"))
            self._after(answer)

        self._send("select", taken, point=point)

    def check(self, value: float) -> None:
        """Ask what the core thinks of a value, in the tag's unit."""
        selection = self.procedure.selection
        if selection is None or self.procedure.stage not in (Stage.SELECTED, Stage.CHECKED):
            return
        self._set_procedure(self.procedure.check())

        def taken(answer: Answer) -> None:
            own = self.procedure.selection
            if own is not None and own.select_id == selection.select_id:
                self._set_procedure(self.procedure.checked(answer))
            self._after(answer)

        self._send("check", taken, select_id=selection.select_id, value=value)

    def edited(self) -> None:
        """Another value was typed."""
        self._set_procedure(self.procedure.edited())

    def execute(self, seen: Seen, reason: str, accepted: bool, retyped: str) -> None:
        """Have the checked value written. What the person saw goes along; the core judges its age."""
        procedure, selection = self.procedure, self.procedure.selection
        if selection is None or procedure.stage is not Stage.CHECKED:
            return
        command_id, now = uuid.uuid4().hex, self.clock.mono_ns()
        self._set_procedure(procedure.execute(command_id))

        def taken(answer: Answer) -> None:
            if self.procedure.command_id == command_id:
                self._set_procedure(self.procedure.executed(answer))
            self.ask_soon("operations")
            self.ask_soon("leases")
            self._after(answer)

        more: dict[str, Any] = {"retyped": retyped.strip()} if selection.retype else {}
        self._send(
            "execute", taken, select_id=selection.select_id, command_id=command_id, value=procedure.value,
            unit=selection.unit, reason=reason.strip(), seen_value=seen.value, seen_mono_ns=seen.mono_ns,
            issued_mono_ns=now, issued_utc_ns=self.clock.utc_ns(), expires_mono_ns=now + EXPIRES_S * NS_PER_S,
            accept_warnings=accepted, **more,
        )  # fmt: skip

    def second(self, operation: picture.Operation) -> None:
        """Be the second person of somebody else's command, as it stands on the screen."""
        self.request(
            "command", "second", "operate.seconded",
            command_id=operation.command_id, point=operation.point, value=operation.value,
        )  # fmt: skip

    def cancel(self) -> None:
        """Give the selection up, or put an ended operation away."""
        self._cancel_selection()
        if self.procedure.stage not in UNDER_WAY:
            self._set_procedure(Procedure())

    def _cancel_selection(self) -> None:
        selection = self.procedure.selection
        waiting = self.procedure.stage in (Stage.SELECTED, Stage.CHECKING, Stage.CHECKED)
        if selection is not None and waiting:
            self._send("cancel", _nothing, select_id=selection.select_id)
        if self.procedure.stage not in UNDER_WAY:
            self._set_procedure(Procedure())

    def _after(self, answer: Answer) -> None:
        """A session that ended or locked meanwhile is known from any answer."""
        if answer.code in ("session_over", "not_signed_in"):
            self._forget("session.over")
        elif answer.code == "session_locked" and self.session is not None:
            self._lock_here()

    def _send(self, op: str, then: Then, **more: Any) -> None:
        self.worker.ask("command", {"op": op, "session": self._token, **more}, then)

    def operation_at(self, point: str) -> picture.Operation | None:
        """What is selected or runs at a point, or else ended there last."""
        found = [one for one in self.operations if one.point == point]
        alive = [one for one in found if one.state not in ENDED]
        return alive[0] if alive else found[-1] if found else None

    def is_own(self, operation: picture.Operation) -> bool:
        """Whether an operation is of this desk's session."""
        if self.session is None:
            return False
        if operation.session_id:
            return operation.session_id == self.session.session_id
        return operation.author == self.session.user and operation.console in ("", self.console)


def _nothing(_answer: Answer) -> None:
    """The answer changes nothing here; polls will tell."""
