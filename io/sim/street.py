"""What a simulated microphone hears: a looped street recording, and happenings mixed in at a given level.

Pure apart from :func:`decode`, which reads sound files. Sounds are int16 at the node's rate; levels are dB below full
scale: RMS for a background, RMS of the loudest two fifths of its 20 ms frames for a happening (a glass break is short
and its tail is silent, so plain RMS would say little about how loud it is).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from gwanje.io.sim.sound_codecs import CODECS, OTHER, Encoder, Sound, encode, encode_loop

SOUNDS_DIR = Path(__file__).with_name("sounds")
MAX_SOUND_S = 60.0
"""A happening longer than this is cut; nothing that a street alarms on takes a minute."""
MAX_FILE_BYTES = 200_000_000
CROSSFADE_S = 0.5
FULL_SCALE = 32_768.0
PEAK_LIMIT = 31_000
"""A happening is made quieter rather than clipped: about -0.5 dB below full scale, room for the background."""
ACTIVE_SHARE = 0.4
SILENCE_DB = -120.0
FAULTS = (
    "none", "dead", "locked", "frozen", "silence", "slow", "rate", "clipped", "offset", "codec", "loss", "reorder",
    "source", "jump", "video", "tracks",
)  # fmt: skip
"""What can be wrong with a camera: it hangs up; wants a password; sends nothing; digital zero; late and in bursts; 10 %
too slow while it says otherwise; clipped; with a constant part; changes its codec without a word; loses 5 % of its
packets; sends them in the wrong order; changes its source; its timestamps jump; has video only; has other tracks too,
among them one that wants to be spoken into (this one is no fault)."""


ARRAY_FAULTS = ("mic_dead", "mic_silent", "mic_clipped", "mic_exchanged", "turned")
"""And with an array of several microphones: the second gives digital zero; 24 dB too little; is clipped; the first two
are exchanged; the node was turned by hand (by the angle between two neighbours)."""


class SoundError(Exception):
    """A recording cannot be used; the text is one line."""


def decode(path: Path, rate_hz: int, max_s: float = MAX_SOUND_S) -> tuple[Sound, bool]:
    """Read a recording (wav, ogg, flac, mp3 …) as mono int16.

    Returns:
        (n,) samples at ``rate_hz``, and whether the recording was longer than ``max_s`` and was cut.

    Raises:
        SoundError: it is missing, no sound, empty or broken.
    """
    try:
        if not path.is_file():
            raise SoundError(f"{path}: no such file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SoundError(f"{path}: larger than {MAX_FILE_BYTES // 1_000_000} MB")
        blocks = _decoded_blocks(path, rate_hz, int(max_s * rate_hz) + 1)
    except (av.FFmpegError, OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise SoundError(f"{path}: not a readable recording ({words})") from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    if not len(samples):
        raise SoundError(f"{path}: holds no sound")
    limit = int(max_s * rate_hz)
    return samples[:limit], len(samples) > limit


def _decoded_blocks(path: Path, rate_hz: int, enough: int) -> list[Sound]:
    blocks: list[Sound] = []
    have = 0
    with av.open(str(path.resolve()), options={"protocol_whitelist": "file"}) as container:
        if not container.streams.audio:
            raise SoundError(f"{path}: holds no sound")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        ready = True  # as long as every frame is what we want, as in our own backgrounds
        for frame in container.decode(audio=0):
            ready = ready and (frame.format.name, frame.layout.name, frame.sample_rate) == ("s16", "mono", rate_hz)
            for block in (frame,) if ready else resampler.resample(frame):
                blocks.append(block.to_ndarray().reshape(-1))
                have += block.samples
            if have >= enough:
                return blocks
        if not ready:
            blocks.extend(block.to_ndarray().reshape(-1) for block in resampler.resample(None))
    return blocks


def rms_db(samples: npt.NDArray[Any]) -> float:
    """RMS in dB below full scale; :data:`SILENCE_DB` at the least."""
    if not len(samples):
        return SILENCE_DB
    real = samples.astype(np.float32)
    power = float(np.dot(real, real)) / len(real) / FULL_SCALE**2
    return max(SILENCE_DB, 10.0 * math.log10(max(power, 1e-30)))


def active_level_db(samples: Sound, rate_hz: int) -> float:
    """RMS of the loudest two fifths of the 20 ms frames, dB below full scale."""
    frame = rate_hz // 50
    n_frames = max(1, len(samples) // frame)
    frames = np.resize(samples, (n_frames, frame)) if len(samples) < frame else samples[: n_frames * frame]
    power = np.mean(np.square(frames.reshape(n_frames, frame), dtype=np.float64), axis=1)
    loudest = np.sort(power)[-max(1, round(ACTIVE_SHARE * n_frames)) :]
    return max(SILENCE_DB, 10.0 * math.log10(max(float(loudest.mean()) / FULL_SCALE**2, 1e-30)))


def at_level(samples: Sound, gain_db: float) -> Sound:
    """Samples times a gain, kept below :data:`PEAK_LIMIT` by less gain where it must be."""
    peak = max(1, int(samples.max()), -int(samples.min()))
    gain = np.float32(min(10.0 ** (gain_db / 20.0), PEAK_LIMIT / peak))
    scaled: Sound = np.rint(samples * gain).astype(np.int16)
    return scaled


def make_loop(samples: Sound, rate_hz: int, level_db: float, multiple: int) -> Sound:
    """A recording that can be repeated without a seam: its end is faded into its beginning.

    Args:
        samples: (n,) the recording, longer than twice the cross-fade.
        rate_hz: its rate.
        level_db: RMS that the loop gets.
        multiple: the loop's length is a multiple of so many samples (a packet).

    Raises:
        SoundError: the recording is too short or silent.
    """
    fade = int(CROSSFADE_S * rate_hz)
    length = (len(samples) - fade) // multiple * multiple
    if length < 2 * fade:
        raise SoundError("too short for a background")
    level = rms_db(samples)
    if level <= -100.0:
        raise SoundError("a background must not be silent")
    ramp = np.sqrt(np.linspace(0.0, 1.0, fade))  # equal power: the two ends have nothing to do with each other
    loop = samples[:length].copy()
    seam = loop[:fade] * ramp + samples[length : length + fade] * ramp[::-1]
    loop[:fade] = np.clip(seam, -32_768, 32_767).astype(np.int16)
    return at_level(loop, level_db - level)


@dataclass(frozen=True, slots=True)
class Happening:
    """A sound at a node, in samples since the node's beginning; (n,), or (channels, n) at an array."""

    start: int
    samples: Sound

    @property
    def stop(self) -> int:
        """One past its last sample."""
        return self.start + int(self.samples.shape[-1])


class Background:
    """A looped street in a codec: shared by all nodes that hear it, each from another place of it on.

    Args:
        loop: (m * packet,) samples, or (channels, m * packet) of an array.
        codec: of :data:`gwanje.io.sim.sound_codecs.CODECS`; an array speaks L16.
        packet: samples in a packet.
    """

    def __init__(self, loop: Sound, codec: str, packet: int) -> None:
        assert loop.shape[-1] % packet == 0, "a loop is a whole number of packets"
        assert loop.ndim == 1 or codec == "L16", "an array speaks L16"
        self.codec, self.packet, self.rate_hz = codec, packet, CODECS[codec].rate_hz
        self.coded = codec in ("AAC", "OPUS")
        """Whether the codec remembers what it coded before."""
        self.loop = loop
        self.level_db = rms_db(loop if loop.ndim == 1 else loop[0])
        n_packets = loop.shape[-1] // packet
        self.payloads = encode_loop(loop, codec, packet) if self.coded else _cut(encode(loop, codec), n_packets)
        quiet = np.zeros((*loop.shape[:-1], packet), np.int16)
        self.silence = encode_loop(np.tile(quiet, 4), codec, packet)[-1] if self.coded else encode(quiet, codec)


def _of_ill_array(sound: Sound, fault: str) -> Sound:
    """(channels, n) as an array with a fault hands them over."""
    ill = sound.copy()
    match fault:
        case "mic_dead":
            ill[1] = 0
        case "mic_silent":
            ill[1] //= 16
        case "mic_clipped":
            ill[1] = np.clip(sound[1].astype(np.int32) * 1_000, -32_768, 32_767)
        case "mic_exchanged":
            ill[0], ill[1] = sound[1], sound[0]
        case "turned":  # by a quarter: what the front heard the right microphone hears now
            ill = np.roll(sound, 1, axis=0)
    return ill


def _cut(data: bytes, n_pieces: int) -> list[bytes]:
    size = len(data) // n_pieces
    return [data[at : at + size] for at in range(0, len(data), size)]


class Street:
    """One node's sound, packet by packet.

    Args:
        background: what it hears when nothing happens.
        offset: packet of the background to begin with, so that nodes with one recording differ.
    """

    MAX_HAPPENINGS = 64
    """Sounds that are mixed or still to come at one node; a script and a few people at a console stay far below."""
    OFFSET = 8_000
    """What the fault ``offset`` adds: a quarter of full scale."""

    def __init__(self, background: Background, offset: int = 0) -> None:
        self.codec, self.rate_hz, self.packet = background.codec, background.rate_hz, background.packet
        self.channels = 1 if background.loop.ndim == 1 else len(background.loop)
        self.fault = "none"
        self.background_db = background.level_db
        self._background = background
        self._offset = offset
        self._n_packets = len(background.payloads)
        self._happenings: list[Happening] = []
        self._encoder: Encoder | None = None

    @property
    def n_packets(self) -> int:
        """Length of the background's loop."""
        return self._n_packets

    def add(self, samples: Sound, start: int) -> Happening:
        """Mix a sound in from the sample ``start`` on (counted from the node's beginning).

        Args:
            samples: (n,), or (channels, n) at an array.
            start: its first sample.

        Raises:
            SoundError: too many sounds wait at this node.
        """
        if len(self._happenings) >= self.MAX_HAPPENINGS:
            raise SoundError("too many sounds at once at this node")
        happening = Happening(start, samples)
        self._happenings.append(happening)
        return happening

    def samples(self, index: int) -> Sound:
        """The sound of packet ``index``, (packet,) or (channels, packet)."""
        at = (index + self._offset) % self._n_packets * self.packet
        background = self._background.loop[..., at : at + self.packet]
        begin = index * self.packet
        now = [one for one in self._happenings if one.start < begin + self.packet]
        if not now:
            return background
        mixed = background.astype(np.int32)
        for one in now:
            first, last = max(one.start, begin), min(one.stop, begin + self.packet)
            if first < last:
                mixed[..., first - begin : last - begin] += one.samples[..., first - one.start : last - one.start]
        self.pass_over(index)
        return np.clip(mixed, -32_768, 32_767).astype(np.int16)

    def pass_over(self, index: int) -> None:
        """Forget what ended with packet ``index``; called for every packet that nobody listens to."""
        if self._happenings:
            end = (index + 1) * self.packet
            self._happenings = [one for one in self._happenings if one.stop > end]

    def payload(self, index: int) -> bytes:
        """The encoded sound of packet ``index``; a quiet street costs one look into a list."""
        fault = self.fault
        if fault == "silence":
            return self._background.silence
        if not self._happenings and fault not in ("clipped", "offset", "codec", *ARRAY_FAULTS):
            self._encoder = None
            return self._background.payloads[(index + self._offset) % self._n_packets]
        sound = self.samples(index)
        if fault == "clipped":
            sound = np.clip(sound.astype(np.int32) * 1_000, -32_768, 32_767).astype(np.int16)
        elif fault == "offset":
            sound = np.clip(sound.astype(np.int32) + self.OFFSET, -32_768, 32_767).astype(np.int16)
        elif fault in ARRAY_FAULTS and sound.ndim > 1:
            sound = _of_ill_array(sound, fault)
        elif fault == "codec":
            return encode(sound if sound.ndim == 1 else sound[0], OTHER[self.codec])
        if not self._background.coded:
            return encode(sound, self.codec)
        if self._encoder is None:
            self._encoder = Encoder(self.codec, self.packet)
        ready = self._encoder.encode(sound)
        return ready[0] if ready else self._background.payloads[(index + self._offset) % self._n_packets]


@dataclass(frozen=True, slots=True)
class ScriptEntry:
    """One happening of the script in ``nodes.toml``: sounds at a node, or a fault of it."""

    at_s: float
    node: str
    sounds: str = ""
    snr_db: float = 20.0
    count: int = 1
    spacing_s: float = 0.0
    repeat_s: float = 0.0
    fault: str = ""
    for_s: float = 0.0


_SCRIPT_NUMBERS = {
    "at_s": (0.0, 86_400.0),
    "snr_db": (-30.0, 60.0),
    "count": (1, 200),
    "spacing_s": (0.0, 60.0),
    "repeat_s": (0.0, 86_400.0),
    "for_s": (0.1, 3_600.0),
}


def parse_script(
    tables: Iterable[Mapping[str, Any]], nodes: Iterable[str], sounds: Path = SOUNDS_DIR
) -> list[ScriptEntry]:
    """Check the script's tables.

    Raises:
        SoundError: the first thing that is wrong, with the number of its table and the key.
    """
    known = set(nodes)
    entries = []
    for number, table in enumerate(tables, 1):
        where = f"nodes.toml: script {number}"
        unknown = set(table) - {*_SCRIPT_NUMBERS, "node", "sounds", "fault"}
        if unknown:
            raise SoundError(f"{where}: unknown key {min(unknown)!r}")
        for key in ("node", "sounds", "fault"):
            if not isinstance(table.get(key, ""), str):
                raise SoundError(f"{where}: {key} must be text")
        for key, (low, high) in _SCRIPT_NUMBERS.items():
            value = table.get(key, low)
            whole = key == "count"
            right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not right_type or not low <= value <= high:
                raise SoundError(
                    f"{where}: {key} must be {'a whole number' if whole else 'a number'} {low:g} to {high:g}"
                )
        if "at_s" not in table or table.get("node") not in known:
            raise SoundError(
                f"{where}: " + ("at_s is missing" if "at_s" not in table else f"unknown node {table.get('node')!r}")
            )
        entry = ScriptEntry(**table)
        if bool(entry.sounds) == bool(entry.fault):
            raise SoundError(f"{where}: needs either sounds or fault")
        if entry.fault and (entry.fault not in FAULTS or not entry.for_s):
            raise SoundError(f"{where}: fault must be one of {' '.join(FAULTS)}, with for_s")
        if entry.sounds and not matching(entry.sounds, sounds):
            raise SoundError(f"{where}: no recording matches {entry.sounds!r}")
        entries.append(entry)
    return entries


def matching(pattern: str, sounds: Path = SOUNDS_DIR) -> list[Path]:
    """Shipped recordings whose path below ``sounds`` matches a shell pattern, sorted."""
    found = (path for path in sounds.rglob("*") if path.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    return sorted(path for path in found if fnmatchcase(path.relative_to(sounds).as_posix(), pattern))


@dataclass(frozen=True, slots=True)
class Cue:
    """A script entry at one of its times, with the recordings drawn for it."""

    at_s: float
    entry: ScriptEntry
    files: tuple[Path, ...] = ()


class Script:
    """Draws the script's happenings in the order of time.

    Args:
        entries: checked entries.
        seed: draws the recordings; the same seed gives the same city.
        sounds: folder of the recordings.
    """

    def __init__(self, entries: Iterable[ScriptEntry], seed: int, sounds: Path = SOUNDS_DIR) -> None:
        self._seed = seed
        self._sounds = sounds
        self._waiting = [(entry.at_s, number, 0, entry) for number, entry in enumerate(entries)]
        self._waiting.sort(key=lambda one: one[:2])

    @property
    def next_s(self) -> float:
        """When the next happening is due; infinite when none is left."""
        return self._waiting[0][0] if self._waiting else math.inf

    def due(self, now_s: float) -> list[Cue]:
        """Happenings up to ``now_s`` that were not given yet."""
        cues = []
        while self._waiting and self._waiting[0][0] <= now_s:
            at_s, number, turn, entry = self._waiting.pop(0)
            draw = random.Random(f"{self._seed}/{number}/{turn}")
            choice = matching(entry.sounds, self._sounds) if entry.sounds else []
            cues.append(Cue(at_s, entry, tuple(draw.choice(choice) for _ in range(entry.count)) if choice else ()))
            if entry.repeat_s:
                self._waiting.append((at_s + entry.repeat_s, number, turn + 1, entry))
                self._waiting.sort(key=lambda one: one[:2])
        return cues
