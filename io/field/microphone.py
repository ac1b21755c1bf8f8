"""What the microphone driver makes of a stream: capture times, signal, sample rate, and the state that follows.

Pure: numbers in, judgement out; ``media.py`` and ``rtsp/hub.py`` have the sockets and the clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from gwanje.core.audio_ring import SAMPLE_NS
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality

FROZEN_AFTER_NS = 1_500_000_000
"""With the scan period, a frozen stream is known after 2 s at the latest."""
OFF_AFTER_NS = 3 * NS_PER_S
RATE_WINDOW_NS = 10 * NS_PER_S
RATE_WINDOW_LEAST_NS = 4 * NS_PER_S
RATE_WRONG, RATE_RIGHT = 0.02, 0.01
"""Crystals are within 0.0001; a device that resamples wrongly is off by percents. Two limits keep it from flapping."""
RATE_JITTER_NS = 90_000_000
"""On a busy machine the first packets of a window may come so much later than they should, or the last."""
DEAD_SPAN = 2
"""A microphone that lives moves more than ±1 of 32 768 within a second, if only by its own noise."""
CLIPPED_AT = 32_700
CLIPPED_COUNT = 16
"""Of the 16 000 samples of a second: 0.1 %."""
DC_SHARE = 0.1
FLOOR_DB = -120.0

Samples = npt.NDArray[np.int16]


class Health(IntEnum):
    """State of a node, the value of its tag ``health``."""

    OK = 0
    CONNECTING = 1
    FROZEN = 2
    SILENT = 3
    CLIPPED = 4
    RATE = 5
    OFF = 6


class Flag(IntFlag):
    """What is wrong with the signal of the last second, beside the ring's state; ``CLOCK``: the camera's is far off."""

    SILENT = 1
    CLIPPED = 2
    DC = 4
    RATE = 8
    LOSS = 16
    CLOCK = 32


WORDS: dict[Health, tuple[str, str]] = {
    Health.OK: ("정상으로 돌아왔습니다", "is back to normal"),
    Health.CONNECTING: ("연결이 끊겨 다시 연결하는 중입니다", "lost its connection and is being reconnected"),
    Health.FROZEN: ("연결되어 있으나 소리가 오지 않습니다", "is connected but sends no sound"),
    Health.SILENT: ("신호가 완전히 무음입니다 (마이크 고장 의심)", "sends perfect silence (microphone dead?)"),
    Health.CLIPPED: ("신호가 포화되었습니다", "is clipped"),
    Health.RATE: ("표본율이 시계와 맞지 않습니다", "has a sample rate that does not agree with the clock"),
    Health.OFF: ("연결할 수 없습니다", "cannot be reached"),
}


class CaptureTime:
    """Capture time of samples from their arrivals: the earliest arrivals are right, all others were held up.

    The estimate follows the earliest arrival at once and moves towards later ones by 1/256 of the distance per packet,
    so that a crystal 100 ppm off is followed and one packet that came late is not.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None

    def of(self, position: int, arrival_ns: int) -> int:
        """Monotonic ns at which the sample before ``position`` was captured; never later than its arrival."""
        offset = arrival_ns - position * SAMPLE_NS
        if self._offset_ns is None or offset < self._offset_ns:
            self._offset_ns = offset
        else:
            self._offset_ns += (offset - self._offset_ns) >> 8
        return self._offset_ns + position * SAMPLE_NS


@dataclass(frozen=True, slots=True)
class HalfSecond:
    """What half a second of a node's signal looks like; int16 units."""

    mean: float
    rms: float
    low: int
    high: int
    n_clipped: int
    n_samples: int

    @classmethod
    def of(cls, samples: Samples) -> HalfSecond:
        """Of (n,) samples, n ≥ 1; the mean is taken out of the RMS."""
        real = samples.astype(np.float32)
        mean = float(real.mean())
        real -= np.float32(mean)
        power = float(np.dot(real, real)) / len(real)
        clipped = np.count_nonzero((samples >= CLIPPED_AT) | (samples <= -CLIPPED_AT))
        return cls(mean, power**0.5, int(samples.min()), int(samples.max()), int(clipped), len(samples))

    @property
    def level_db(self) -> float:
        """RMS in dB below full scale."""
        return max(FLOOR_DB, 20.0 * float(np.log10(max(self.rms, 1e-6) / 32_768.0)))


def halves_of(block: Samples) -> list[HalfSecond]:
    """Half a second of each of many nodes at once, (k, n) samples, n ≥ 1."""
    real = block.astype(np.float32)
    means = real.mean(axis=1)
    real -= means[:, None]
    rms = np.sqrt(np.einsum("ij,ij->i", real, real) / block.shape[1])
    lows, highs = block.min(axis=1), block.max(axis=1)
    loud = np.flatnonzero((highs >= CLIPPED_AT) | (lows <= -CLIPPED_AT))  # few: only those are counted
    clipped = np.zeros(len(block), int)
    clipped[loud] = np.count_nonzero((block[loud] >= CLIPPED_AT) | (block[loud] <= -CLIPPED_AT), axis=1)
    n = block.shape[1]
    return [
        HalfSecond(float(means[k]), float(rms[k]), int(lows[k]), int(highs[k]), int(clipped[k]), n)
        for k in range(len(block))
    ]


def signal_flags(halves: tuple[HalfSecond, ...]) -> Flag:
    """What is wrong with a second of signal, given as its halves."""
    flags = Flag(0)
    if len(halves) < 2:
        return flags
    if max(one.high for one in halves) - min(one.low for one in halves) <= DEAD_SPAN:
        flags |= Flag.SILENT
    if sum(one.n_clipped for one in halves) >= CLIPPED_COUNT:
        flags |= Flag.CLIPPED
    if abs(sum(one.mean for one in halves) / len(halves)) > DC_SHARE * 32_768:
        flags |= Flag.DC
    return flags


class RateWatch:
    """Samples per second against the clock, over some seconds of one connection."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque()
        self._connection = 0
        self.wrong = False
        self.ratio = 1.0

    def look(self, connection: int, position: int, arrival_ns: int) -> bool:
        """Whether the rate is wrong.

        Args:
            connection: number of the connection; a new one begins anew.
            position: samples up to now, with the missing ones.
            arrival_ns: when the newest arrived.
        """
        if connection != self._connection:
            self._connection = connection
            self._points.clear()
            self.wrong = False
        if not self._points or arrival_ns > self._points[-1][0]:
            self._points.append((arrival_ns, position))
        while len(self._points) > 2 and self._points[1][0] <= arrival_ns - RATE_WINDOW_NS:
            self._points.popleft()
        began, first = self._points[0]
        if arrival_ns - began >= RATE_WINDOW_LEAST_NS:
            self.ratio = (position - first) * SAMPLE_NS / (arrival_ns - began)
            doubt = RATE_WRONG + RATE_JITTER_NS / (arrival_ns - began)
            self.wrong = abs(self.ratio - 1.0) > (RATE_RIGHT if self.wrong else doubt)
        return self.wrong


@dataclass(frozen=True, slots=True)
class Look:
    """What the main loop sees of a stream at one moment; all times monotonic ns."""

    now_ns: int
    playing: bool
    attempt_ns: int
    heard_ns: int
    failed: bool
    flags: Flag


def health_of(look: Look, before: Health, lost_ns: int) -> Health:
    """State of a node.

    Args:
        look: the moment.
        before: state at the moment before.
        lost_ns: since when there is no stream.
    """
    heard_now = look.heard_ns >= look.attempt_ns and look.heard_ns > 0
    if look.playing and heard_now and look.now_ns - look.heard_ns <= FROZEN_AFTER_NS:
        if look.flags & Flag.SILENT:
            return Health.SILENT
        if look.flags & Flag.RATE:
            return Health.RATE
        return Health.CLIPPED if look.flags & Flag.CLIPPED else Health.OK
    if look.playing:
        waited_ns = look.now_ns - max(look.attempt_ns, look.heard_ns)
        if waited_ns > FROZEN_AFTER_NS:
            return Health.FROZEN
        return before if before in (Health.FROZEN, Health.OFF) else Health.CONNECTING
    if before is Health.OFF or (before is Health.FROZEN and not look.failed):
        return before  # it is being opened again: nothing shows yet that it is better or worse
    return Health.OFF if look.now_ns - lost_ns > OFF_AFTER_NS else Health.CONNECTING


QUALITY: dict[Health, Quality] = {
    Health.OK: Quality.GOOD,
    Health.CONNECTING: Quality.BAD | Quality.COMM,
    Health.FROZEN: Quality.BAD | Quality.COMM,
    Health.SILENT: Quality.BAD | Quality.DEVICE_FAILURE,
    Health.CLIPPED: Quality.UNCERTAIN | Quality.CLAMPED,
    Health.RATE: Quality.UNCERTAIN | Quality.DEVICE_FAILURE,
    Health.OFF: Quality.BAD | Quality.COMM,
}
"""Of the loudness; health and age are the driver's own and always good."""
