"""The acoustic kernels under pytest-benchmark; the interleaved comparison is ``gwanje bench acoustic --peers``."""

from __future__ import annotations

import numpy as np
import pytest

from gwanje.control.acoustic.bench import log_mel_arms, street
from gwanje.control.acoustic.chain import BLOCK_SAMPLES, SAMPLE_NS, Chain
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.features import PATCH_FRAMES, levelled
from gwanje.control.acoustic.head import Head
from gwanje.control.acoustic.model import Yamnet
from gwanje.control.acoustic.where.bench import KERNEL_NODES, kernel, listening

pytestmark = pytest.mark.bench


def test_log_mel_of_eight_nodes(benchmark) -> None:
    """Budget: 10 s of eight nodes in 5.3 ms, 15 000 times real time."""
    arms, _ = log_mel_arms(street(8, 10.0), peers=False)
    assert benchmark(arms["gwanje"]).shape == (8, 998, 64)


def test_network_and_head_of_one_patch(benchmark) -> None:
    """Budget: 2 ms a patch."""
    network, head = Yamnet(), Head.load()
    patch = levelled(np.random.default_rng(0).normal(-3.0, 1.0, (1, PATCH_FRAMES, 64)).astype(np.float32))
    assert benchmark(lambda: head.margins(network(patch))).shape == (1, 8)


def test_two_hundred_nodes_without_the_network(benchmark) -> None:
    """Budget: 12 ms of processor for the 0.12 s of all nodes that come at once: a tenth of a core."""
    samples = street(200, 1.2)
    chain = Chain(200, None, DetectorParams())
    turn = 0

    def one() -> int:
        nonlocal turn
        turn += 1
        begin = turn % 10 * BLOCK_SAMPLES
        for node in range(200):
            chain.push(node, samples[node, begin : begin + BLOCK_SAMPLES], turn * BLOCK_SAMPLES * SAMPLE_NS, [])
        return len(chain.advance()[0])

    assert benchmark(one) == 200


def test_bearings_of_sixteen_nodes(benchmark) -> None:
    """Budget: 1.024 s of sixteen nodes with four microphones in 10.9 ms, 1500 nodes a core."""
    samples = (np.random.default_rng(0).standard_normal((KERNEL_NODES, 4, 16_384)) * 300.0).astype(np.int16)
    one = kernel(KERNEL_NODES)
    assert benchmark(listening(one, samples)) >= 62
