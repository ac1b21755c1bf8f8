"""Coded sound through FFmpeg's decoders: the packets of AAC, Opus and G.726, and rates that numpy does not do here.

The only file of ``io/field`` that touches PyAV: bare packets go in, 16 kHz mono comes out. A decoder belongs to one
connection. Sources: RFC 3640 (AAC in RTP), RFC 7587 (Opus), RFC 3551 §4.5.4 (G.726).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import av
import numpy as np

from gwanje.io.field.rtsp import pcm
from gwanje.io.field.rtsp.pcm import Samples
from gwanje.io.field.rtsp.sdp import G726_BITS, Format

RATE_HZ = 16_000
UNITS_MAX = 64
"""Access units in one packet of AAC: a second and more of sound."""
UNIT_BYTES_MAX = 8_192
"""An access unit has 768 bytes per channel at most (ISO/IEC 14496-3); pieces of a longer one are not collected."""


class DecodeError(Exception):
    """A packet does not hold what its format promises; one line."""


class Decoder(Protocol):
    """Makes samples of payloads."""

    def decode(self, payload: bytes, marker: bool) -> tuple[Samples, int]:
        """One packet: samples at 16 kHz, and by how many ticks of the RTP clock the stream has gone on.

        Raises:
            DecodeError: it cannot be understood.
        """


def decoder(form: Format) -> Decoder:
    """A decoder of a format that :mod:`~gwanje.io.field.rtsp.pcm` does not do alone.

    Raises:
        DecodeError: the description of the format is wrong.
    """
    av.logging.set_level(None)  # FFmpeg's own complaints name no node
    try:
        if form.codec == "AAC":
            return _Aac(form)
        if form.codec == "OPUS":
            return _Coded(form, "libopus", 48_000, {})
        if form.codec == "G726":
            name = form.name.removeprefix("AAL2-")
            order = "g726" if form.name.startswith("AAL2-") else "g726le"
            return _Coded(form, order, form.clock_hz, {"bits_per_coded_sample": str(G726_BITS[name])})
        return _Plain(form)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(f"{form.name}: {_words(error)}") from None


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Converter:
    """Frames of any rate and layout to 16 kHz mono."""

    def __init__(self) -> None:
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def convert(self, frames: list[Any]) -> tuple[Samples, int]:
        """Samples, and how many the frames had before."""
        blocks: list[Samples] = []
        before = 0
        for frame in frames:
            before += frame.samples
            frame.pts = None  # one after another: what is missing between them is the driver's to know
            blocks += [one.to_ndarray().reshape(-1) for one in self._resampler.resample(frame)]
        return (np.concatenate(blocks) if blocks else np.zeros(0, np.int16)), before


class _Coded:
    """A codec whose payload is one packet of it."""

    def __init__(
        self, form: Format, name: str, rate_hz: int, options: Mapping[str, str], extradata: bytes = b""
    ) -> None:
        context: Any = av.CodecContext.create(name, "r")
        if extradata:
            context.extradata = extradata
        else:
            context.sample_rate = rate_hz
            context.layout = "mono" if form.channels == 1 or form.codec == "OPUS" else "stereo"
        context.options = dict(options)
        context.open()
        self._context = context
        self._clock_hz = form.clock_hz
        self._converter = _Converter()

    def decode(self, payload: bytes, marker: bool) -> tuple[Samples, int]:
        """See :class:`Decoder`."""
        return self._decode([payload])

    def _decode(self, packets: list[bytes]) -> tuple[Samples, int]:
        try:
            frames = [frame for one in packets for frame in self._context.decode(av.Packet(one))]
            samples, before = self._converter.convert(frames)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(_words(error)) from None
        rate_hz = frames[0].sample_rate if frames else 0
        return samples, before * self._clock_hz // rate_hz if rate_hz else 0


class _Aac(_Coded):
    """AAC as RFC 3640 packs it: a table of access units before the units themselves, or a piece of one that is long."""

    def __init__(self, form: Format) -> None:
        try:
            config = bytes.fromhex(form.params.get("config", ""))
            self._size, self._index, self._delta = (
                int(form.params.get(key, default))
                for key, default in (("sizelength", 13), ("indexlength", 3), ("indexdeltalength", 3))
            )
        except ValueError:
            raise DecodeError("AAC: its description cannot be understood") from None
        if not config or not 0 < self._size <= 16 or not 0 <= self._index <= 8 or not 0 <= self._delta <= 8:
            raise DecodeError("AAC: its description has no configuration")
        super().__init__(form, "aac", form.clock_hz, {}, config)
        self._piece = b""

    def decode(self, payload: bytes, marker: bool) -> tuple[Samples, int]:
        """See :class:`Decoder`."""
        return self._decode(self._units(payload, marker))

    def _units(self, payload: bytes, marker: bool) -> list[bytes]:
        bits = int.from_bytes(payload[:2], "big")
        begin = 2 + (bits + 7) // 8
        if len(payload) < begin or bits < self._size + self._index:
            raise DecodeError("AAC: a packet without a table of its units")
        table = int.from_bytes(payload[2:begin], "big") >> (-bits % 8)
        sizes: list[int] = []
        left = bits
        while left >= self._size + (self._delta if sizes else self._index):
            left -= self._size
            sizes.append(table >> left & (1 << self._size) - 1)
            left -= self._delta if len(sizes) > 1 else self._index
        if len(sizes) > UNITS_MAX:
            raise DecodeError(f"AAC: more than {UNITS_MAX} units in a packet")
        if len(sizes) == 1 and sizes[0] > len(payload) - begin:
            return self._collect(payload[begin:], sizes[0], marker)
        self._piece = b""
        if sum(sizes) > len(payload) - begin or 0 in sizes:
            raise DecodeError("AAC: units that reach beyond their packet")
        units = []
        for size in sizes:
            units.append(payload[begin : begin + size])
            begin += size
        return units

    def _collect(self, piece: bytes, size: int, marker: bool) -> list[bytes]:
        """A piece of a unit; the unit once it is whole."""
        self._piece += piece
        if len(self._piece) > UNIT_BYTES_MAX or (marker and len(self._piece) != size):
            self._piece = b""
            raise DecodeError("AAC: pieces that do not make a unit")
        if not marker:
            return []
        unit, self._piece = self._piece, b""
        return [unit]


class _Plain:
    """G.711 and L16 at rates and with channels that are not the usual ones."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._table = {"PCMU": pcm.mulaw_table, "PCMA": pcm.alaw_table}.get(form.codec, lambda: None)()
        self._converter = _Converter()

    def decode(self, payload: bytes, marker: bool) -> tuple[Samples, int]:
        """See :class:`Decoder`."""
        channels = self._form.channels
        if len(payload) % (channels if self._table is not None else 2 * channels):
            raise DecodeError(f"{self._form.name}: a packet that ends within a sample")
        samples = pcm.l16(payload) if self._table is None else self._table[np.frombuffer(payload, np.uint8)]
        if channels > 1:
            samples = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32).astype(np.int16)
        if self._form.clock_hz == RATE_HZ:
            return samples, len(samples)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
        frame.sample_rate = self._form.clock_hz
        converted, before = self._converter.convert([frame])
        return converted, before
