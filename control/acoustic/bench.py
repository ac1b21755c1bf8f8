"""Measures the acoustic chain: log-mel against librosa and scipy, the network, the chain of 8 nodes and of 200."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib import metadata
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import BLOCK_FRAMES, BLOCK_SAMPLES, SAMPLE_NS, Chain
from gwanje.control.acoustic.classes import CLASSES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Ears
from gwanje.control.acoustic.features import (
    HOP_S,
    HOP_SAMPLES,
    LOG_OFFSET,
    N_FFT,
    N_MELS,
    PATCH_FRAMES,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    front_end,
    hann,
    mel_weights,
)
from gwanje.control.acoustic.head import Head
from gwanje.control.acoustic.model import ModelError, Yamnet
from gwanje.control.acoustic.where import bench as where
from gwanje.core.bench import BenchOptions, Result, interleaved, result
from gwanje.ext.envelope import SAMPLES_PER_MS, Envelope
from gwanje.ext.logmel import widest_lanes
from gwanje.ext.noise_floor import NoiseFloor
from gwanje.ext.pcen import Pcen
from gwanje.ext.score_filter import ScoreFilter

N_NODES: Final = 8
N_CITY: Final = 200
SECONDS: Final = 10
NEVER: Final = 1_000_000_000

Arm = Callable[[], object]


def street(n_nodes: int, seconds: float) -> NDArray[np.int16]:
    """Noise with a falling spectrum at street level, (n_nodes, n) int16."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((n_nodes, int(seconds * SAMPLE_RATE_HZ)))
    return (np.apply_along_axis(np.convolve, 1, noise, [1.0, 0.7, 0.4, 0.2], "same") * 300.0).astype(np.int16)


def log_mel_arms(samples: NDArray[np.int16], peers: bool) -> tuple[dict[str, Arm], dict[str, str]]:
    """Ours and, when asked for and installed, the peers; the second map says which are missing."""
    kernel = front_end(len(samples))
    arms: dict[str, Arm] = {"gwanje": lambda: kernel.process(samples)}
    missing: dict[str, str] = {}
    if not peers:
        return arms, missing
    floats = samples.astype(np.float32) / np.float32(32768.0)
    window, weights = hann(), mel_weights()
    try:
        import scipy.fft

        frames = np.lib.stride_tricks.sliding_window_view(floats, WINDOW_SAMPLES, axis=1)[:, ::HOP_SAMPLES]

        def scipy_batch() -> object:
            return np.log(np.abs(scipy.fft.rfft(frames * window, N_FFT, axis=2)) @ weights + np.float32(LOG_OFFSET))

        arms["scipy"] = scipy_batch
    except ImportError:
        missing["scipy"] = "scipy is not installed"
    try:
        import librosa

        padded = np.pad(window, (0, N_FFT - WINDOW_SAMPLES))

        def librosa_channels() -> object:
            return [
                np.log(librosa.feature.melspectrogram(
                    y=one, sr=SAMPLE_RATE_HZ, n_fft=N_FFT, hop_length=HOP_SAMPLES, window=padded, center=False,
                    power=1.0, n_mels=N_MELS, fmin=125.0, fmax=7500.0, htk=True, norm=None) + LOG_OFFSET)
                for one in floats
            ]  # fmt: skip

        arms["librosa"] = librosa_channels
    except ImportError:
        missing["librosa"] = "librosa is not installed"
    return arms, missing


def _log_mel(options: BenchOptions) -> list[Result]:
    """Log-mel of eight nodes, x real time of one core."""
    samples = street(N_NODES, SECONDS)
    arms, missing = log_mel_arms(samples, options.peers)
    times = interleaved(arms, options.rounds, inner=3)
    real_s = float(N_NODES * SECONDS)
    speed = {name: real_s / statistics.median(seconds) for name, seconds in times.items()}
    best = real_s / min(times["gwanje"])
    note = f"{widest_lanes()} lanes; 8 nodes x {SECONDS} s of 16 kHz int16; best round {best:.0f} x"
    found = [
        result("acoustic.logmel", speed["gwanje"], "x real time", rounds=options.rounds, goal=">= 15000", note=note)
    ]
    for peer, ratio in (("librosa", ">= 8"), ("scipy", ">= 5")):
        if peer in speed:
            found.append(result(
                f"acoustic.logmel_vs_{peer}", speed["gwanje"], "x real time", peer=f"{peer} {metadata.version(peer)}",
                peer_value=speed[peer], ratio=speed["gwanje"] / speed[peer], goal=ratio, of="ratio",
                rounds=options.rounds, note="how many times as fast as the peer"))  # fmt: skip
        elif peer in missing:
            found.append(result(
                f"acoustic.logmel_vs_{peer}", speed["gwanje"], "x real time", peer=peer, rounds=options.rounds,
                note=missing[peer]))  # fmt: skip
    return found


def _kernels(rounds: int) -> list[Result]:
    """What nodes cost besides their log-mel: envelope, PCEN, noise floor, score filter.

    0.01 ms per second of a node is 0.2 % of a core for 200 nodes.
    """
    rng = np.random.default_rng(2)
    nodes, n_blocks = np.arange(N_CITY), 10
    samples = rng.integers(-3000, 3000, (N_CITY, BLOCK_SAMPLES)).astype(np.int16)
    frames = rng.normal(-3.0, 1.0, (N_CITY, BLOCK_FRAMES, N_MELS)).astype(np.float32)
    n_ms = BLOCK_SAMPLES // SAMPLES_PER_MS
    peak, power = np.empty((N_CITY, n_ms), np.float32), np.empty((N_CITY, n_ms), np.float32)
    floors, calm = np.empty((N_CITY, N_MELS), np.float32), np.empty_like(frames)
    margins = rng.normal(-4.0, 1.0, (N_CITY, len(CLASSES))).astype(np.float32)
    found, median = np.empty(N_CITY, np.intc), np.empty_like(margins)
    params = DetectorParams((2,) * len(CLASSES))
    envelope, floor, pcen = Envelope(N_CITY), NoiseFloor(N_CITY, N_MELS), Pcen(N_CITY, N_MELS)
    scores = ScoreFilter(
        N_CITY, params.median_patches, params.release_margin, params.release_s, params.hold_off_s, params.shadow_s
    )
    mono_ns = np.full(N_CITY, NEVER)

    def again(step: Callable[[], None], times: int) -> Arm:
        def run() -> None:
            for _ in range(times):
                step()

        return run

    arms = {
        "envelope": again(lambda: envelope.process(nodes, samples, peak, power), n_blocks),
        "pcen": again(lambda: pcen.process(nodes, frames, calm), n_blocks),
        "noise_floor": again(lambda: floor.process(nodes, frames, floors), n_blocks),
        "score_filter": again(
            lambda: scores.process(nodes, margins, mono_ns, False, found, median), n_blocks // 2
        ),
    }
    real_s = N_CITY * n_blocks * BLOCK_SAMPLES / SAMPLE_RATE_HZ
    return [
        result(
            f"acoustic.{name}", statistics.median(seconds) / real_s * 1000.0, "ms per node-second", rounds=rounds,
            note=f"{N_CITY} nodes, blocks of {BLOCK_SAMPLES / SAMPLE_RATE_HZ:g} s",
        )
        for name, seconds in interleaved(arms, rounds).items()
    ]  # fmt: skip


def _network(network: Yamnet, rounds: int) -> Result:
    """One patch through the network, embedding and scores."""
    patches = np.random.default_rng(1).normal(-3.0, 1.0, (16, PATCH_FRAMES, N_MELS)).astype(np.float32)
    seconds = interleaved({"network": lambda: network(patches)}, rounds)["network"]
    return result(
        "acoustic.network", statistics.median(seconds) / len(patches) * 1000.0, "ms per patch", rounds=rounds,
        goal="<= 2", note="YAMNet int8 with its embedding, one thread",
    )  # fmt: skip


def _chain(network: Yamnet, head: Head, rounds: int) -> Result:
    """Eight nodes, every patch classified each 0.24 s: share of one core."""
    samples = street(N_NODES, SECONDS)
    params = DetectorParams(head.median_patches)

    ears = Ears(network, head)

    def run() -> None:
        chain = Chain(N_NODES, ears, params, glance=ears.glance)
        for end in range(BLOCK_SAMPLES, samples.shape[1] + 1, BLOCK_SAMPLES):
            for node in range(N_NODES):
                chain.push(node, samples[node, end - BLOCK_SAMPLES : end], NEVER + end * SAMPLE_NS, [])
            chain.advance()

    seconds = interleaved({"chain": run}, rounds)["chain"]
    hop_s = 2 * BLOCK_SAMPLES / HOP_SAMPLES * HOP_S
    return result(
        "acoustic.chain", statistics.median(seconds) / SECONDS * 100.0, "% of a core", rounds=rounds, goal="<= 12",
        note=f"{N_NODES} nodes, {len(CLASSES)} classes, a patch of each node every {hop_s:.2f} s",
    )  # fmt: skip


def _restless(samples: NDArray[np.int16], share: float) -> NDArray[np.int16]:
    """The same streets, with a short loud noise twice a second at some of the nodes."""
    rng, out = np.random.default_rng(3), samples.copy()
    bang = (rng.standard_normal(SAMPLE_RATE_HZ // 10) * 6_000.0).astype(np.int16)
    for node in range(round(share * len(samples))):
        for begin in range(int(rng.integers(SAMPLE_RATE_HZ // 2)), samples.shape[1] - len(bang), SAMPLE_RATE_HZ // 2):
            out[node, begin : begin + len(bang)] = bang
    return out


class _City:
    """Two hundred nodes that hear the same ten seconds again and again; the gates know the street after the first."""

    def __init__(self, network: Yamnet, head: Head, samples: NDArray[np.int16]) -> None:
        params = DetectorParams(head.median_patches)
        ears = Ears(network, head)
        self.chain = Chain(len(samples), ears, params, 3.0, glance=ears.glance)
        self._samples = samples
        self._heard = 0

    def listen(self) -> None:
        """Once more."""
        samples, chain = self._samples, self.chain
        for end in range(BLOCK_SAMPLES, samples.shape[1] + 1, BLOCK_SAMPLES):
            for node in range(len(samples)):
                newest_ns = NEVER + (self._heard + end) * SAMPLE_NS
                chain.push(node, samples[node, end - BLOCK_SAMPLES : end], newest_ns, [])
            chain.advance()
        self._heard += samples.shape[1]


def _cities(network: Yamnet, head: Head, rounds: int) -> list[Result]:
    """Two hundred nodes, all quiet, and with something at every tenth of them: share of one core."""
    quiet = street(N_CITY, SECONDS)
    cities = {"quiet": _City(network, head, quiet), "tenth_active": _City(network, head, _restless(quiet, 0.1))}
    taken = interleaved({name: city.listen for name, city in cities.items()}, rounds)
    found = []
    for name, goal in (("quiet", "<= 35"), ("tenth_active", "<= 60")):
        chain, seconds = cities[name].chain, SECONDS * (rounds + 1)
        found.append(result(
            f"acoustic.chain_200_{name}", statistics.median(taken[name]) / SECONDS * 100.0, "% of a core",
            rounds=rounds, goal=goal, note=f"{N_CITY} nodes: {chain.n_patches / seconds:.0f} patches a second, "
            f"{chain.gate.n_open} gates open at the end, {chain.n_skipped / seconds:.1f} patches a second left out",
        ))  # fmt: skip
    return found


def run(options: BenchOptions) -> list[Result]:
    """All of it; without a model file its numbers are left out and the reason is said."""
    found: list[Any] = _log_mel(options) + _kernels(options.rounds) + where.run(options)
    try:
        network, head = Yamnet(), Head.load()
    except ModelError as error:
        found.append(result("acoustic.network", float("nan"), "ms per patch", rounds=0, note=f"not measured: {error}"))
        return found
    return [
        *found, _network(network, options.rounds), _chain(network, head, options.rounds),
        *_cities(network, head, options.rounds),
    ]  # fmt: skip
