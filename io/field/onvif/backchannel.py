"""Speaking into a camera: an RTSP session whose track takes sound instead of giving it, and the packets for it. No I/O.

The session is that of the microphones (:mod:`gwanje.io.field.rtsp.session`) with ONVIF's feature tag, without which a
camera hides its back channel. Sources: ONVIF Streaming Specification §5.3, RFC 3550 §5.1, RFC 3551 §4.5.14, G.711.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from gwanje.io.field.rtsp import pcm, sdp
from gwanje.io.field.rtsp.sdp import Track
from gwanje.io.field.rtsp.session import Login, Session

FEATURE = "www.onvif.org/ver20/backchannel"
RATE_HZ = 8_000
PACKET_SAMPLES = 160
"""20 ms: what all cameras take, and as little as a word waits for its packet to fill."""
PACKET_NS = 20_000_000

_RTP = struct.Struct(">BBHBBHII")
Samples = npt.NDArray[np.int16]


class BackChannel(Session):
    """One session to speak; good for one connection.

    Args:
        url: of the camera's stream.
        login: user and password.
        token: ``token(n)`` gives n unguessable bytes.
    """

    def __init__(self, url: str, login: Login, token: Callable[[int], bytes]) -> None:
        super().__init__(url, login, "PCMU", token)
        random = token(10)
        self._ssrc = int.from_bytes(random[:4], "big")
        self._sequence_number = int.from_bytes(random[4:6], "big")
        self._timestamp = int.from_bytes(random[6:], "big")
        self._begin = True

    def _choose(self, body: bytes, base_url: str) -> Track:
        return sdp.choose_back_track(body, base_url)

    def _send(self, method: str, uri: str, headers: dict[str, str]) -> None:
        if method in ("DESCRIBE", "SETUP", "PLAY"):
            headers = {**headers, "Require": FEATURE}
        super()._send(method, uri, headers)

    @property
    def codec(self) -> str:
        """``PCMU`` or ``PCMA``, once described."""
        return self._format()[1]

    def _format(self) -> tuple[int, str]:
        assert self.track is not None, "speaks before the camera has described itself"
        number, form = next(iter(self.track.formats.items()))
        return number, form.codec

    def frame(self, samples: Samples) -> bytes:
        """One packet of sound, ready for the connection.

        Args:
            samples: (n,) at 8 kHz.
        """
        number, codec = self._format()
        payload = mulaw(samples) if codec == "PCMU" else alaw(samples)
        marker = 0x80 if self._begin else 0
        self._begin = False
        header = _RTP.pack(
            0x24, self.channels[0], 12 + len(payload), 0x80, marker | number, self._sequence_number, self._timestamp,
            self._ssrc,
        )  # fmt: skip
        self._sequence_number = (self._sequence_number + 1) & 0xFFFF
        self.pause(len(samples))
        return header + payload

    def pause(self, n_samples: int) -> None:
        """Let the stream's clock go on without sound; what follows begins a new stretch of it."""
        self._timestamp = (self._timestamp + n_samples) & 0xFFFF_FFFF

    def stretch(self) -> None:
        """What follows begins after silence (the marker of RFC 3551 says so)."""
        self._begin = True


def mulaw(samples: Samples) -> bytes:
    """µ-law codes of samples: the code whose meaning is nearest."""
    return _codes("PCMU")[samples.view(np.uint16)].tobytes()


def alaw(samples: Samples) -> bytes:
    """A-law codes of samples."""
    return _codes("PCMA")[samples.view(np.uint16)].tobytes()


@cache
def _codes(codec: str) -> npt.NDArray[np.uint8]:
    """(65536,) code of each sample, found in the table that decodes it: the two directions cannot disagree."""
    table = pcm.mulaw_table() if codec == "PCMU" else pcm.alaw_table()
    order = np.argsort(table, kind="stable")
    meanings = table[order].astype(np.int32)
    wanted = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    above = np.clip(np.searchsorted(meanings, wanted), 1, len(meanings) - 1)
    nearest = np.where(wanted - meanings[above - 1] <= meanings[above] - wanted, above - 1, above)
    codes = order[nearest].astype(np.uint8)
    if codec == "PCMU":
        codes[codes == 0x7F] = 0xFF  # of the two zeros G.711 sends the positive one
    return codes
