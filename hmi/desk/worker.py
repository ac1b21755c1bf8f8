"""Asks the core on a thread of its own, so that neither the screen nor the values wait for an answer.

The GUI thread puts questions in with :meth:`Worker.ask` and picks the answers up once per frame with
:meth:`Worker.deliver`, which calls back in the GUI thread. An answer that is no answer (silence, an error of the
service, something that is no map) comes as an :class:`Answer` as well: nothing is lost and nothing raises.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError

MAX_WAITING = 64
"""Questions that wait at once; a person and a dozen polls make fewer. Beyond it a question is answered with BUSY."""
POLL_TIMEOUT_MS = 400
"""A poll that is not answered within this is asked again later."""
ASK_TIMEOUT_MS = 2_500
"""A person's request: the core waits 0.8 s for an owner and half a second for a password's hash."""

NO_ANSWER = "no_answer"
BUSY = "screen_busy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        outcome: the service's word; ``refused``, :data:`NO_ANSWER` or :data:`BUSY` when nothing was done.
        content: the whole answer.
        code: of a refusal.
        text_ko: of a refusal, for operators.
        text_en: the same in English.
    """

    outcome: str
    content: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    text_ko: str = ""
    text_en: str = ""

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Answer:
        """Of a service's map."""
        outcome = str(content.get("outcome", "answered"))
        if outcome != "refused":
            return cls(outcome, content)
        ko, en = str(content.get("text_ko", "")), str(content.get("text_en", ""))
        return cls(outcome, content, str(content.get("code", "")), ko or en, en or ko)

    @property
    def failed(self) -> bool:
        """Whether nothing was done, or nobody knows."""
        return self.outcome in ("refused", "expired", "timed_out", NO_ANSWER, BUSY)


Then = Callable[[Answer], None]
Request = Callable[[str, dict[str, Any], int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Question:
    service: str
    message: dict[str, Any] = field(repr=False)  # may carry a password
    then: Then
    timeout_ms: int


class Worker:
    """A queue of questions, one thread that asks them, a queue of answers.

    Args:
        request: asks a service and waits, as :meth:`gwanje.core.bus.bus.Bus.request`.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._changed = threading.Condition()
        self._urgent: deque[_Question] = deque()
        self._polls: deque[_Question] = deque()
        self._answers: deque[tuple[Then, Answer]] = deque()
        self._stop = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._run, name="gwanje-hmi-desk", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float = 1.0) -> None:
        """Ask what a person still wanted, such as to be signed out, and end; polls are forgotten."""
        with self._changed:
            self._polls.clear()
        self.stop(timeout_s)

    def stop(self, timeout_s: float = 3.0) -> None:
        """End the thread after what people have asked."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether somebody asks."""
        return self._thread is not None and self._thread.is_alive()

    def ask(self, service: str, message: dict[str, Any], then: Then) -> None:
        """A person wants something: before every poll."""
        self._put(self._urgent, _Question(service, message, then, ASK_TIMEOUT_MS))

    def poll(self, service: str, message: dict[str, Any], then: Then) -> None:
        """The screen wants to know how things are."""
        self._put(self._polls, _Question(service, message, then, POLL_TIMEOUT_MS))

    def _put(self, queue: deque[_Question], question: _Question) -> None:
        with self._changed:
            if len(queue) >= MAX_WAITING:
                self._answers.append((question.then, Answer(BUSY)))
                return
            queue.append(question)
            self._changed.notify()

    def deliver(self) -> int:
        """In the GUI thread: hand every answer to whoever asked; returns how many there were."""
        n = 0
        while self._answers:
            then, answer = self._answers.popleft()
            then(answer)
            n += 1
        return n

    def turn(self) -> bool:
        """Ask one question if there is one; returns whether there was."""
        with self._changed:
            queue = self._urgent or self._polls
            if not queue:
                return False
            question = queue.popleft()
        self._answers.append((question.then, self._asked(question)))
        return True

    def _asked(self, question: _Question) -> Answer:
        try:
            return Answer.read(self._request(question.service, question.message, question.timeout_ms))
        except RequestTimeoutError:
            return Answer(NO_ANSWER)
        except (RequestRefusedError, ValueError) as error:
            return Answer("refused", {}, "malformed", str(error), str(error))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._urgent or self._polls or self._stop):
                    self._changed.wait()
                if self._stop and not self._urgent:
                    return
            self.turn()
