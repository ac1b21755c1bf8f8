"""The peer of the benchmark: FFmpeg's RTSP client through PyAV, a thread for each stream, as most programs listen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import av
import numpy as np

from gwanje.core.audio_ring import SAMPLE_RATE_HZ, RingWriter
from gwanje.core.clock import Clock

OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "audio",
    "fflags": "nobuffer",
    "flags": "low_delay",
    "probesize": "32",
    "analyzeduration": "0",
    "reorder_queue_size": "0",
}
"""The least work and delay that FFmpeg can be asked for."""
TIMEOUTS_S = (20.0, 5.0)


def listen(index: int, url: str, ring: RingWriter, clock: Clock, heard: Callable[[int], None]) -> threading.Thread:
    """Start a thread that writes one stream into the ring; ``heard(index)`` is called for every packet."""

    def read() -> None:
        with av.open(url, options=OPTIONS, timeout=TIMEOUTS_S) as container:
            resampler: Any = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            stream = container.streams.audio[0]
            for packet in container.demux(stream):
                for frame in packet.decode():
                    ready = frame.sample_rate == SAMPLE_RATE_HZ and frame.format.name == "s16"
                    blocks = [one.to_ndarray().reshape(-1) for one in ([frame] if ready else resampler.resample(frame))]
                    ring.write(index, np.concatenate(blocks), clock.mono_ns())
                    heard(index)

    thread = threading.Thread(target=read, name=f"stream-{index}", daemon=True)
    thread.start()
    return thread
