"""A person's end of listening in and of live speech: asks, renews, takes or gives samples; never a file.

Both classes are driven from one thread that may wait (a terminal, a worker of the screen): each call asks over the bus
and waits for the answer. What ended is told once more with every further call, as :class:`Over`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.client import RequestsBus
from gwanje.core.requests import REASONS, TEXT_MAX, Code
from gwanje.core.sound.service import SERVICE

LISTEN_RATE_HZ: Final = 16_000
TALK_RATE_HZ: Final = 8_000
RENEW_NS: Final = NS_PER_S * 6 // 10
"""A pass is good for two seconds: two renewals may be lost."""
TIMEOUT_MS: Final = 800
"""Of one request: longer than any answer takes, shorter than a pass is good."""
FRAMES_MAX: Final = 800
"""Samples of one request to speak: 0.1 s."""

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing (more) is heard or said, and why."""

    code: str
    text_ko: str
    text_en: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What came since the last call.

    Attributes:
        samples: (n,) at 16 kHz, of one microphone of the node; may be empty.
        lost: samples that never arrived, or that we were too late for.
        muted: the node's own loudspeaker sounds: the samples are silence.
        left_s: seconds until the end.
    """

    samples: Samples
    lost: int
    muted: bool
    left_s: float

    @property
    def level_db(self) -> float:
        """RMS, dB below full scale; −120 for silence."""
        if not len(self.samples):
            return -120.0
        power = float(np.mean(np.square(self.samples, dtype=np.float64))) / 32_768.0**2
        return max(-120.0, 10.0 * float(np.log10(power))) if power > 0.0 else -120.0


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a piece of speech.

    Attributes:
        taken: samples that there was room for; the rest is offered again a little later.
        waiting_s: of speech that waits in front of the loudspeaker.
        underruns: packets of silence that were sent because nothing waited.
        left_s: seconds until the end.
    """

    taken: int
    waiting_s: float
    underruns: int
    left_s: float


def over(answer: Mapping[str, Any]) -> Over:
    """A refusal as it came."""
    texts = REASONS[Code.MALFORMED]
    return Over(
        str(answer.get("code", Code.MALFORMED)), str(answer.get("text_ko", texts[0])),
        str(answer.get("text_en", texts[1])),
    )  # fmt: skip


class _Session:
    """What listening and speaking share: the grant, and its renewal.

    Args:
        bus: of this process.
        session: token of the person who signed in.
    """

    def __init__(self, bus: RequestsBus, session: str) -> None:
        self._bus, self._token = bus, session
        self._grant_id = ""
        self._part = ""
        self._pass: dict[str, Any] = {}
        self._renewed_ns = self._ends_ns = 0
        self._over: Over | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return max(0.0, (self._ends_ns - self._bus.clock.mono_ns()) / NS_PER_S)

    def _ask(self, service: str, message: dict[str, Any]) -> dict[str, Any]:
        """An answer; what cannot be had is a refusal too, ``no_answer`` when nobody answered in time."""
        try:
            return self._bus.request(service, message, TIMEOUT_MS)
        except RequestTimeoutError:
            ko, en = "응답이 없습니다", "nobody answers"
            return {"outcome": "refused", "code": "no_answer", "text_ko": ko, "text_en": en}
        except RequestRefusedError as error:
            text = str(error)[:TEXT_MAX]
            return {"outcome": "refused", "code": str(Code.MALFORMED), "text_ko": text, "text_en": text}

    def _begin(self, message: dict[str, Any]) -> Over | None:
        answer = self._ask(SERVICE, {"session": self._token, **message})
        if answer.get("outcome") != "granted":
            self._over = over(answer)
            return self._over
        self._over = None
        self._grant_id, self._part = str(answer["grant_id"]), str(answer["part"])
        self._ends_ns = self._bus.clock.mono_ns() + int(answer["ends_mono_ns"]) - int(answer["mono_ns"])
        self._take(answer)
        return None

    def _take(self, answer: Mapping[str, Any]) -> None:
        self._pass = {key: answer[key] for key in ("pass", "mac")}
        self._renewed_ns = self._bus.clock.mono_ns()

    def _through(self, message: dict[str, Any]) -> dict[str, Any] | Over:
        """Ask the part that has the sound, with a pass that is fresh."""
        if self._over is not None:
            return self._over
        if self._bus.clock.mono_ns() - self._renewed_ns >= RENEW_NS:
            answer = self._ask(SERVICE, {"session": self._token, "op": "renew", "grant_id": self._grant_id})
            if answer.get("outcome") == "granted":
                self._take(answer)
            elif answer.get("code") != "no_answer":
                self._over = over(answer)
                return self._over
        answer = self._ask(f"{SERVICE}.{self._part}", {**message, **self._pass})
        if answer.get("outcome") != "refused" and "error" not in answer:
            return answer
        self._over = over(answer)
        return self._over

    def end(self) -> None:
        """It is over; harmless when it was. What nobody tells the core it finds out within three seconds."""
        if not self._grant_id:
            return
        by_place = self._over is not None and self._over.code not in ("no_answer", str(Code.GRANT_OVER))
        self._ask(SERVICE, {"session": self._token, "op": "end", "grant_id": self._grant_id, "by_place": by_place})
        self._grant_id = ""
        self._over = self._over or Over(str(Code.GRANT_OVER), *REASONS[Code.GRANT_OVER])


class Ear(_Session):
    """Listens in at a node."""

    def begin(self, node: str, reason: str, for_s: float) -> Over | None:
        """Ask to listen.

        Args:
            node: name of the node.
            reason: for the journal and for everybody.
            for_s: 1 … 60 seconds.

        Returns:
            Why not; ``None`` when it has begun.
        """
        return self._begin({"op": "listen", "node": node, "reason": reason, "for_s": for_s})

    def hear(self) -> Heard | Over:
        """What came since the last call; call it some ten times a second."""
        answer = self._through({"op": "pull"})
        if isinstance(answer, Over):
            return answer
        samples = np.frombuffer(answer["samples"], "<i2").astype(np.int16)
        return Heard(samples, int(answer["lost"]), bool(answer["muted"]), self.left_s)


class Voice(_Session):
    """Speaks through a camera's loudspeaker."""

    def begin(self, camera: str, reason: str, for_s: float) -> Over | None:
        """Ask to speak; arguments and answer as :meth:`Ear.begin`, for a camera."""
        return self._begin({"op": "talk", "camera": camera, "reason": reason, "for_s": for_s})

    def say(self, samples: Samples, last: bool = False) -> Said | Over:
        """Hand speech over, 0.1 s at most; empty asks how it goes.

        Args:
            samples: (n,) at 8 kHz.
            last: nothing follows: what waits is said, and then it is over.
        """
        piece = np.ascontiguousarray(samples[:FRAMES_MAX], "<i2")
        message = {"op": "say", "samples": piece.tobytes(), "last": last and len(piece) == len(samples)}
        answer = self._through(message)
        if isinstance(answer, Over):
            return answer
        return Said(int(answer["taken"]), float(answer["waiting_s"]), int(answer["underruns"]), self.left_s)
