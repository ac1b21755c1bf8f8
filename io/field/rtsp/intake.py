"""From packets to the ring: what each node sends is decoded, many nodes at once, and put where it belongs in time.

No I/O but the ring's memory. What a stream's own timestamps say is missing, and the time between two connections, is
filled with zeros and marked; timestamps are believed as far as the clock allows, for they may jump by anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gwanje.core.audio_ring import CAPACITY_SAMPLES, SAMPLE_NS, SAMPLE_RATE_HZ, RingWriter
from gwanje.core.clock import NS_PER_S
from gwanje.io.field.microphone import CaptureTime
from gwanje.io.field.rtsp import pcm
from gwanje.io.field.rtsp.codecs import DecodeError, Decoder, decoder
from gwanje.io.field.rtsp.pcm import Samples
from gwanje.io.field.rtsp.rtcp import SenderReport
from gwanje.io.field.rtsp.rtp import Counts, Jitter, RtpPacket
from gwanje.io.field.rtsp.sdp import Format

JUMP_TOLERANCE_S = 0.005
"""Timestamps may wobble by rounding; a missing packet is 20 ms or more."""
JUMP_S = 0.5
"""A step of the timestamps that the clock contradicts by so much is a jump, and counted as one."""
PACKET_S = 0.02
"""The shortest packet that cameras send; less than that on our clock is the network's, and nothing was lost."""
CLOCK_OFF_NS = 2 * NS_PER_S
"""A camera's clock that is further off is told of; it has no time server."""
REPORT_TRUST_NS = 250_000_000
"""So far may the capture time by the camera's own clock lie before the one by the earliest arrivals: coding takes time.
One that lies after, or further before, is not used."""
BAD_MAX = 25
"""Packets in a row that cannot be decoded: a second. Then the stream is opened anew."""
SILENT_TYPES = (13, 19)
"""Comfort noise: nothing to be heard, and no change of the codec."""


@dataclass(slots=True)
class _Moment:
    """A camera's report on its clock, beside ours."""

    source: int
    timestamp: int
    mono_ns: int


class Intake:
    """What one connection of a node puts into the ring.

    Args:
        index: of the node in the ring.
        ring: to write to.
        formats: by payload type, as the camera described them.
    """

    __slots__ = (
        "_capture", "_clock_hz", "_delay_ns", "_expected", "_first", "_formats", "_moment", "_ring", "_type", "bad",
        "captured_ns", "clock_off", "clock_offset_ns", "counts", "decoder", "heard_ns", "index", "jitter", "jumps",
        "kind", "late_ns", "position", "rows", "unknown_type",
    )  # fmt: skip

    def __init__(self, index: int, ring: RingWriter, formats: Mapping[int, Format], counts: Counts) -> None:
        self.index = index
        self.counts = counts
        self.kind: tuple[str, bool, int] | None = None
        """``(codec, at 8 kHz, channels)`` of sound that is decoded together with other nodes'; None of all other."""
        self.rows = ring.channels[index]
        """Microphones that the node should have; a stream of fewer fills the first row alone."""
        self.decoder: Decoder | None = None
        head = ring.head(index)
        self.position, self.captured_ns = head.position, head.mono_ns
        self.heard_ns = 0
        self.late_ns = 0
        """How much later than expected the newest packet came."""
        self.jumps = 0
        self.bad = 0
        """Packets in a row that could not be decoded."""
        self.unknown_type = -1
        """A payload type that the camera sends without having described it."""
        self.jitter = Jitter()
        self.clock_off = False
        self.clock_offset_ns = 0
        self._ring = ring
        self._formats = formats
        self._type = -1
        self._clock_hz = SAMPLE_RATE_HZ
        self._delay_ns = 0
        self._capture = CaptureTime()
        self._expected = -1
        self._first = True
        self._moment: _Moment | None = None

    def accept(self, packet: RtpPacket) -> bool:
        """Whether there is sound in a packet; a payload type other than before brings another decoder."""
        if packet.payload_type == self._type:
            return True
        form = self._formats.get(packet.payload_type)
        if form is None:
            self.counts.unused += 1
            if packet.payload_type not in SILENT_TYPES:
                self.unknown_type = packet.payload_type
            return False
        try:
            self._choose(form)
        except DecodeError:
            self.reject()
            return False
        self._type = packet.payload_type
        return True

    def _choose(self, form: Format) -> None:
        plain = form.codec in ("L16", "PCMU", "PCMA") and form.channels == 1 and form.clock_hz in (8_000, 16_000)
        array = form.codec == "L16" and form.clock_hz == SAMPLE_RATE_HZ and form.channels == self.rows
        self.kind = (form.codec, form.clock_hz == 8_000, form.channels) if plain or array else None
        self.decoder = decoder(form) if self.kind is None else None
        self._clock_hz = form.clock_hz
        self._delay_ns = pcm.DELAY_NS if self.kind is not None and self.kind[1] else 0
        self._expected = -1

    def reject(self) -> None:
        """A packet could not be decoded."""
        self.counts.bad += 1
        self.bad += 1

    def report(self, report: SenderReport, utc_ns: int, mono_ns: int) -> None:
        """The camera tells what its clock says; ours is beside it."""
        self.clock_offset_ns = report.utc_ns - utc_ns
        self.clock_off = abs(self.clock_offset_ns) > CLOCK_OFF_NS
        self._moment = (
            None if self.clock_off else _Moment(report.source, report.timestamp, mono_ns + self.clock_offset_ns)
        )

    def put(self, samples: Samples, ticks: int, packet: RtpPacket) -> None:
        """Write a decoded packet.

        Args:
            samples: (n,) at 16 kHz, or (channels, n) of all the node's microphones.
            ticks: of the RTP clock that they last.
            packet: that they came in.
        """
        n_samples, arrival_ns = samples.shape[-1], packet.arrival_ns
        if n_samples > CAPACITY_SAMPLES:
            self.reject()
            return
        timestamp = packet.timestamp
        if timestamp != self._expected:
            self._fill(timestamp, n_samples, arrival_ns)
        self._expected = (timestamp + ticks) & 0xFFFF_FFFF
        self.position += n_samples
        arrived_ns = self._capture.of(self.position, arrival_ns)
        captured_ns = self._by_report(packet, ticks, arrived_ns) - self._delay_ns
        self.late_ns = arrival_ns - arrived_ns
        self._ring.write(self.index, samples, captured_ns)
        self.captured_ns = captured_ns
        self.heard_ns = arrival_ns
        self.bad = 0
        self.unknown_type = -1
        self.jitter.add(timestamp, arrival_ns, self._clock_hz)

    def _by_report(self, packet: RtpPacket, ticks: int, arrived_ns: int) -> int:
        """Capture time by the camera's own clock where that can be believed, else by the earliest arrivals."""
        moment = self._moment
        if moment is None or moment.source != packet.source:
            return arrived_ns
        since = (packet.timestamp + ticks - moment.timestamp + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        captured_ns = moment.mono_ns + since * NS_PER_S // self._clock_hz
        return captured_ns if arrived_ns - REPORT_TRUST_NS <= captured_ns <= arrived_ns else arrived_ns

    def _fill(self, timestamp: int, n_samples: int, arrival_ns: int) -> None:
        """Mark what the device's timestamps, or the time since the last connection, say is missing."""
        elapsed = (arrival_ns - self.captured_ns) // SAMPLE_NS - n_samples
        n_missing = 0
        if self._first:
            self._first = False
            if self.captured_ns:
                n_missing = elapsed
                self.captured_ns = arrival_ns - n_samples * SAMPLE_NS
        elif self._expected >= 0:
            step = (timestamp - self._expected + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
            step_s, elapsed_s = step / self._clock_hz, max(elapsed, 0) / SAMPLE_RATE_HZ
            if abs(step_s - elapsed_s) > JUMP_S:  # timestamps may jump by anything: the clock alone counts
                self.jumps += 1
                n_missing = elapsed if elapsed_s > PACKET_S else 0
            elif step_s > JUMP_TOLERANCE_S:
                n_missing = min(round(step_s * SAMPLE_RATE_HZ), max(0, elapsed))
            self.captured_ns += n_missing * SAMPLE_NS
        if n_missing > 0:
            self._ring.gap(self.index, n_missing, self.captured_ns)
            self.position += n_missing


class Mixer:
    """Decodes what has come from all nodes since the last turn, nodes with the same kind of packet side by side.

    Args:
        n_nodes: of the ring.
    """

    def __init__(self, n_nodes: int) -> None:
        self._doubler = pcm.Doubler(n_nodes)
        self._tables = {"PCMU": pcm.mulaw_table(), "PCMA": pcm.alaw_table()}

    def forget(self, node_index: int) -> None:
        """A node's stream begins anew."""
        self._doubler.forget(node_index)

    def take(self, waiting: Iterable[tuple[Intake, RtpPacket]]) -> None:
        """Decode packets and write them, each node's in their order."""
        left = list(waiting)
        while left:
            later: list[tuple[Intake, RtpPacket]] = []
            groups: dict[tuple[str, bool, int, int], list[tuple[Intake, RtpPacket]]] = {}
            seen: set[int] = set()
            for one in left:
                intake, packet = one
                if intake.index in seen:
                    later.append(one)
                    continue
                seen.add(intake.index)
                if not intake.accept(packet):
                    continue
                if intake.kind is None:
                    _alone(intake, packet)
                else:
                    groups.setdefault((*intake.kind, len(packet.payload)), []).append(one)
            for (codec, slow, channels, size), members in groups.items():
                self._together(codec, slow, channels, size, members)
            left = later

    def _together(
        self, codec: str, slow: bool, channels: int, size: int, members: list[tuple[Intake, RtpPacket]]
    ) -> None:
        if codec == "L16" and size % (2 * channels):
            for intake, _ in members:
                intake.reject()
            return
        joined = b"".join([packet.payload for _, packet in members])
        flat = pcm.l16(joined) if codec == "L16" else self._tables[codec][np.frombuffer(joined, np.uint8)]
        rows: Samples = flat.reshape(len(members), -1)
        if channels > 1:
            rows = rows.reshape(len(members), -1, channels).transpose(0, 2, 1)
        ticks = int(rows.shape[-1])
        if slow:
            rows = self._doubler.double(rows, np.array([intake.index for intake, _ in members]))
        for row, (intake, packet) in zip(rows, members, strict=True):
            intake.put(row, ticks, packet)


def _alone(intake: Intake, packet: RtpPacket) -> None:
    assert intake.decoder is not None, "accepted, and of no common kind"
    try:
        samples, ticks = intake.decoder.decode(packet.payload, packet.marker)
    except Exception:  # noqa: BLE001 whatever a device sends to FFmpeg costs this node a packet, and no other anything
        intake.reject()
        return
    if len(samples):
        intake.put(samples, ticks, packet)
