"""Measures where sounds come from: nodes per core beside pyroomacoustics, and how far off bearings and places are.

Accuracies are medians over fixed seeds and are the same on every machine; only the throughput is timed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.where.array import between, square
from gwanje.control.acoustic.where.bearing import Bearing, listen
from gwanje.control.acoustic.where.position import Heard, Position, locate
from gwanje.control.acoustic.where.scenes import RATE_HZ, Scene, canyon, free_field, onset_of
from gwanje.core.bench import BenchOptions, Result, interleaved, result, unmeasured
from gwanje.ext.srp_phat import SrpPhat
from gwanje.ext.steering import steering

SOUNDS: Final = Path(__file__).resolve().parents[3] / "io" / "sim" / "sounds"
"""The recordings of the simulated city, where they stand beside this program."""
SPEED: Final = 343.0
N_WINDOW: Final = 512
HOP: Final = 256
BAND_HZ: Final = (200.0, 7_500.0)
AZIMUTHS: Final = 180
KERNEL_NODES: Final = 16
PEER_FRAMES: Final = 8
"""Snapshots of each direction of the peer: one direction every 128 ms, as it is used; ours gives one each 16 ms."""
CLIP_S: Final = 0.7
FREE_FIELD_SEEDS: Final = 12
CANYON_SEEDS: Final = 2
POSITION_SEEDS: Final = 60


def kernel(n_nodes: int, lanes: int | None = None) -> SrpPhat:
    """The streaming kernel for nodes with the default array, as a city would run it."""
    table = steering(square().mic_xy_m, SPEED, RATE_HZ, AZIMUTHS, BAND_HZ)
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_WINDOW) / N_WINDOW)).astype(np.float32)
    low, high = (round(edge * N_WINDOW / RATE_HZ) for edge in BAND_HZ)
    return SrpPhat(
        n_nodes, 4, table.pairs, table.base_at, table.lag_at, table.taps, window, HOP, low, high, 8.0, lanes=lanes
    )


def listening(one: SrpPhat, samples: NDArray[np.int16]) -> Callable[[], object]:
    """A call that takes these samples once more, with room for the most frames that may come."""

    def again() -> object:
        n = one.frames_after(samples.shape[2])
        best = np.empty((one.n_nodes, n), np.int32)
        peak, mean = np.empty((one.n_nodes, n), np.float32), np.empty((one.n_nodes, n), np.float32)
        return one.process(samples, best, peak, mean)

    return again


def _throughput(options: BenchOptions) -> list[Result]:
    """Nodes of four microphones at 62.5 frames a second that one core serves."""
    seconds = 1.024
    samples = (np.random.default_rng(0).standard_normal((KERNEL_NODES, 4, round(seconds * RATE_HZ))) * 300.0)
    heard = samples.astype(np.int16)
    arms: dict[str, Callable[[], object]] = {"gwanje": listening(kernel(KERNEL_NODES), heard)}
    missing = ""
    if options.peers:
        try:
            arms["peer"] = _peer(samples[0])
        except ImportError:
            missing = "pyroomacoustics is not installed"
    times = interleaved(arms, options.rounds, inner=2)
    nodes = [KERNEL_NODES * seconds / took for took in times["gwanje"]]
    ours = statistics.median(nodes)
    note = f"{kernel(KERNEL_NODES).lanes} lanes, 6 pairs, 180 azimuths; best round {max(nodes):.0f}"
    found = [result("acoustic.bearing_nodes", ours, "nodes per core", rounds=options.rounds, goal=">= 1500", note=note)]
    if "peer" in times:
        theirs = statistics.median(seconds / took for took in times["peer"])
        found.append(result(
            "acoustic.bearing_vs_pyroomacoustics", ours, "nodes per core",
            peer=f"pyroomacoustics {metadata.version('pyroomacoustics')} SRP", peer_value=theirs, ratio=ours / theirs,
            goal=">= 100", of="ratio", rounds=options.rounds,
            note="the peer gives a direction every 128 ms, on 360 azimuths; ours one every 16 ms"))  # fmt: skip
    elif missing:
        found.append(unmeasured("acoustic.bearing_vs_pyroomacoustics", "nodes per core", missing))
    return found


def _peer(samples: NDArray[np.float64]) -> Callable[[], object]:
    """The peer's SRP-PHAT over the same stretch of one node.

    Raises:
        ImportError: it is not installed.
    """
    import pyroomacoustics as pra

    srp = pra.doa.SRP(square().mic_xy_m.T, RATE_HZ, N_WINDOW, c=SPEED, num_src=1)

    def once() -> object:
        frames = np.lib.stride_tricks.sliding_window_view(samples, N_WINDOW, axis=1)[:, ::HOP]
        spectra = np.fft.rfft(frames * np.hanning(N_WINDOW), axis=2).transpose(0, 2, 1)
        for at in range(0, spectra.shape[2] - PEER_FRAMES + 1, PEER_FRAMES):
            srp.locate_sources(spectra[:, :, at : at + PEER_FRAMES], freq_range=list(BAND_HZ))
        return srp.azimuth_recon

    return once


def _off_deg(scene: Scene) -> float:
    """How far off the bearing of a scene is, degrees; NaN where there is none."""
    found = listen(scene.samples, square(), scene.onset, SPEED)
    return math.degrees(abs(between(found.azimuth, scene.azimuth))) if isinstance(found, Bearing) else math.nan


def _spread(off: list[float]) -> str:
    """Count, 90 % and what is missing, for a note."""
    known = [one for one in off if not math.isnan(one)]
    return (f"{len(off)} scenes, p90 {float(np.quantile(known, 0.9)):.2f}, worst {max(known):.2f}, "
            f"{len(off) - len(known)} without a bearing")  # fmt: skip


def _free_field() -> list[Result]:
    """White bursts of 0.3 s from anywhere, in noise of each microphone's own."""
    found = []
    for snr_db in (20.0, 10.0, 0.0):
        off = []
        for seed in range(FREE_FIELD_SEEDS):
            rng = np.random.default_rng([int(snr_db), seed])
            burst = rng.standard_normal(round(0.3 * RATE_HZ))
            off.append(_off_deg(free_field(burst, square(), rng.uniform(0.0, 2.0 * math.pi), snr_db, rng, white=True)))
        found.append(result(
            f"acoustic.bearing_free_field_{snr_db:.0f}db", float(np.nanmedian(off)), "deg", rounds=len(off),
            goal="<= 0.1", note=_spread(off)))  # fmt: skip
    return found


def _clip(path: Path) -> NDArray[np.float64]:
    """A recording at our rate from just before its onset on.

    Raises:
        ImportError: soundfile is not installed.
    """
    import soundfile
    from scipy.signal import resample_poly

    sound, rate_hz = soundfile.read(path, always_2d=True)
    mono: NDArray[np.float64] = resample_poly(sound.mean(axis=1), RATE_HZ, rate_hz)
    begin = max(0, onset_of(mono) - RATE_HZ // 40)
    return mono[begin : begin + round(CLIP_S * RATE_HZ)]


def _canyon() -> list[Result]:
    """Recordings in a simulated street, 20, 10 and 5 dB."""
    found = []
    for kind, goal in (("glass_break", "<= 0.7"), ("gunshot", "<= 0.7"), ("baby_cry", None)):
        clips = sorted((SOUNDS / kind).glob("*.ogg"))
        if not clips:
            found.append(unmeasured(f"acoustic.bearing_canyon_{kind}", "deg", f"no recordings in {SOUNDS / kind}"))
            continue
        try:
            off = [
                _off_deg(canyon(_clip(clip), square(), snr_db, np.random.default_rng([index, int(snr_db), seed])))
                for index, clip in enumerate(clips) for snr_db in (20.0, 10.0, 5.0) for seed in range(CANYON_SEEDS)
            ]  # fmt: skip
        except ImportError as error:
            found.append(unmeasured(f"acoustic.bearing_canyon_{kind}", "deg", str(error)))
            continue
        found.append(result(
            f"acoustic.bearing_canyon_{kind}", float(np.nanmedian(off)), "deg", rounds=len(off), goal=goal,
            note=f"{len(clips)} recordings; {_spread(off)}; street of 24 m, array of 10 cm at 4 m"))  # fmt: skip
    return found


def happening(seed: int, spacing_m: float = 60.0, clock_s: float = 0.001) -> tuple[tuple[float, float], list[Heard]]:
    """An event among three nodes, with what they would say of it: bearings to 1°, onsets to 1 ms beside the clocks."""
    rng = np.random.default_rng(seed)
    nodes = [(0.0, 0.0), (spacing_m, 0.0), (spacing_m / 2.0, spacing_m * math.sqrt(0.75))]
    place = (float(rng.uniform(-10.0, spacing_m + 10.0)), float(rng.uniform(-10.0, spacing_m + 2.0)))
    heard = []
    for index, node in enumerate(nodes):
        dx, dy = place[0] - node[0], place[1] - node[1]
        late_s = math.hypot(dx, dy) / SPEED + rng.normal(0.0, clock_s) + rng.normal(0.0, 0.001)
        bearing = math.atan2(dx, dy) + rng.normal(0.0, math.radians(1.0)) + rng.normal(0.0, math.radians(0.5))
        heard.append(Heard(
            f"n{index}", node, bearing % (2.0 * math.pi), math.radians(1.0), None, 10**18 + round(late_s * 1e9),
            math.hypot(clock_s, 0.001)))  # fmt: skip
    return place, heard


def _position() -> Result:
    """Three nodes 60 m apart."""
    off, held = [], 0
    for seed in range(POSITION_SEEDS):
        place, heard = happening(seed)
        found = locate(heard)
        if isinstance(found, Position):
            off.append(math.dist(found.xy_m, place))
            held += found.holds(place)
    return result(
        "acoustic.position_3_nodes", statistics.median(off), "m", rounds=POSITION_SEEDS, goal="<= 2",
        note=f"60 m apart, clocks of 1 ms; {len(off)} of {POSITION_SEEDS} placed, "
        f"p90 {float(np.quantile(off, 0.9)):.2f}, worst {max(off):.2f}; {held} in their 95 % ellipse",
    )  # fmt: skip


def run(options: BenchOptions) -> list[Result]:
    """All of it."""
    return [*_throughput(options), *_free_field(), *_canyon(), _position()]
