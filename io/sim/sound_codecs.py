"""How simulated microphones code their sound: G.711 and L16 in numpy, AAC and Opus through FFmpeg's encoders.

Beside ``street.py``, which reads sound files, the only place of ``io/sim`` that touches PyAV. Sources: ITU-T G.711,
RFC 3551, RFC 3640, RFC 7587.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.int16]

AAC_FRAME = 1_024
"""Samples of a packet of AAC, always."""
AAC_BITS = 48_000
OPUS_BITS = 24_000


@dataclass(frozen=True, slots=True)
class Codec:
    """What a codec needs on the wire.

    Attributes:
        rate_hz: of the samples.
        clock_hz: of the RTP timestamps.
        payload_type: 0 and 8 are fixed numbers, the others were free.
        name: for the session description.
    """

    rate_hz: int
    clock_hz: int
    payload_type: int
    name: str


CODECS = {
    "L16": Codec(16_000, 16_000, 97, "L16/16000/1"),
    "PCMU": Codec(8_000, 8_000, 0, "PCMU/8000"),
    "PCMA": Codec(8_000, 8_000, 8, "PCMA/8000"),
    "AAC": Codec(16_000, 16_000, 96, "mpeg4-generic/16000/1"),
    "OPUS": Codec(16_000, 48_000, 98, "opus/48000/2"),
    "PCMU16": Codec(16_000, 16_000, 100, "PCMU/16000"),
}
"""The last is what a camera of 16 kHz changes to while its fault is ``codec``."""
OTHER = {"L16": "PCMU16", "PCMU": "PCMA", "PCMA": "PCMU", "AAC": "PCMU16", "OPUS": "PCMU16"}
"""What a camera changes to."""


def mulaw(samples: Sound) -> bytes:
    """G.711 µ-law, one byte per sample (ITU-T G.711, table 2a)."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)) >> 2, 8_158) + 33
    exponent = np.log2(magnitude).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    code = (exponent << 4) | mantissa | np.where(samples < 0, 0x80, 0)
    return bytes((~code & 0xFF).astype(np.uint8).tobytes())


def alaw(samples: Sound) -> bytes:
    """G.711 A-law, one byte per sample (ITU-T G.711, table 1a)."""
    real = samples.astype(np.int32)
    magnitude = np.where(real < 0, ~real, real) >> 4
    exponent = np.maximum(np.log2(np.maximum(magnitude, 1)).astype(np.int32) - 3, 0)
    mantissa = magnitude >> np.maximum(exponent - 1, 0) & 0x0F
    code = (exponent << 4) | mantissa | np.where(real < 0, 0, 0x80)
    return bytes(((code ^ 0x55) & 0xFF).astype(np.uint8).tobytes())


def encode(samples: Sound, codec: str) -> bytes:
    """Payload bytes of a codec that needs no memory: L16 is big-endian, channels in turn (RFC 3551)."""
    if codec.startswith("PCMU"):
        return mulaw(samples)
    return alaw(samples) if codec == "PCMA" else samples.T.astype(">i2").tobytes()


class Encoder:
    """AAC or Opus, packet by packet.

    Args:
        codec: ``AAC`` or ``OPUS``.
        packet: samples in a packet.
    """

    def __init__(self, codec: str, packet: int) -> None:
        context: Any = av.CodecContext.create("aac" if codec == "AAC" else "libopus", "w")
        context.sample_rate, context.layout = CODECS[codec].rate_hz, "mono"
        context.format = "fltp" if codec == "AAC" else "s16"
        context.bit_rate = AAC_BITS if codec == "AAC" else OPUS_BITS
        context.options = {} if codec == "AAC" else {"frame_duration": str(packet // 16), "application": "audio"}
        context.open()
        assert context.frame_size == packet, "a packet is one frame"
        self._context = context
        self._codec = codec
        self._at = 0

    @property
    def config(self) -> str:
        """For the session description of AAC, hexadecimal."""
        return bytes(self._context.extradata or b"").hex()

    def encode(self, samples: Sound) -> list[bytes]:
        """Payloads that are ready with these samples: none at the very first, then one each."""
        real = samples.reshape(1, -1)
        if self._codec == "AAC":
            frame = av.AudioFrame.from_ndarray(real.astype(np.float32) / np.float32(32_768.0), "fltp", "mono")
        else:
            frame = av.AudioFrame.from_ndarray(real, "s16", "mono")
        frame.sample_rate, frame.pts = CODECS[self._codec].rate_hz, self._at
        self._at += len(samples)
        packets = [bytes(one) for one in self._context.encode(frame)]
        return [_unit(one) for one in packets] if self._codec == "AAC" else packets


def _unit(packet: bytes) -> bytes:
    """One access unit with the table that RFC 3640 puts before it."""
    return b"\x00\x10" + (len(packet) << 3).to_bytes(2, "big") + packet


def encode_loop(loop: Sound, codec: str, packet: int) -> list[bytes]:
    """Payloads of a loop that is played again and again: encoded twice, so that its end knows of its beginning."""
    encoder = Encoder(codec, packet)
    blocks: Sequence[Sound] = np.split(loop, len(loop) // packet)
    found = [one for _ in range(2) for block in blocks for one in encoder.encode(block)]
    return found[-len(blocks) :]


def aac_config() -> str:
    """What every node of AAC says of its codec."""
    return Encoder("AAC", AAC_FRAME).config
