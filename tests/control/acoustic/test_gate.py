"""What opens a gate and what does not, and how the network's budget is shared."""

from __future__ import annotations

import numpy as np

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, SAMPLE_NS, Budget, Chain
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.gate import HOLD_BLOCKS, Gate
from gwanje.control.acoustic.levels import next_floors

T0 = 1_000_000_000
N = len(CLASS_NAMES)
BLOCKS_PER_S = 25 / 3


def noise(n_blocks: int, level: float = 200.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_blocks * BLOCK_SAMPLES) * level).astype(np.int16)


class Counting:
    """A classifier that hears nothing, or what ``margin`` says, and counts by the loudness of the patch."""

    def __init__(self, margin: float = -9.0) -> None:
        self.margin, self.n = margin, []

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        self.n.append(len(patches))
        return np.full((len(patches), N), self.margin, np.float32)


def play(chain: Chain, sounds: list[np.ndarray]) -> list[list[bool]]:
    """Push all sounds block by block; which gates were open after each."""
    opened = []
    for end in range(BLOCK_SAMPLES, len(sounds[0]) + 1, BLOCK_SAMPLES):
        for node, sound in enumerate(sounds):
            chain.push(node, sound[end - BLOCK_SAMPLES : end], T0 + end * SAMPLE_NS, [])
        chain.advance()
        opened.append((chain.gate.held > 0).tolist())
    return opened


def last_patches(chain: Chain) -> list[int]:
    return [node.patch_mono_ns for node in chain._nodes]


def test_steady_noise_opens_nothing() -> None:
    opened = play(Chain(4, None, DetectorParams()), [noise(200, seed=seed) for seed in range(4)])
    assert not any(any(row) for row in opened[10:])


def test_an_onset_opens_the_gate_for_a_patch() -> None:
    sound = noise(120)
    sound[80 * BLOCK_SAMPLES + 500 : 80 * BLOCK_SAMPLES + 900] = noise(1, 3_000.0)[:400]
    opened = [row[0] for row in play(Chain(1, None, DetectorParams()), [sound])]
    assert opened[80:90] == [True] * 9 + [False]
    assert HOLD_BLOCKS == 9
    assert not any(opened[10:80])


def test_a_tone_in_one_band_opens_the_gate_though_the_level_hardly_rises() -> None:
    sound = noise(120, 400.0).astype(np.float64)
    start, at = 80 * BLOCK_SAMPLES, np.arange(40 * BLOCK_SAMPLES)
    sound[start:] += 450.0 * np.sin(2 * np.pi * 900.0 * at / 16_000)
    opened = [row[0] for row in play(Chain(1, None, DetectorParams()), [sound.astype(np.int16)])]
    assert any(opened[80:83])
    assert not any(opened[10:80])


def test_what_stays_becomes_usual() -> None:
    """A rise of 12 dB is news for its first ten seconds or so, not for a minute."""
    sound = np.concatenate([noise(80), noise(500, 800.0, seed=1)])
    opened = [row[0] for row in play(Chain(1, None, DetectorParams()), [sound])]
    assert all(opened[82 : 82 + int(3 * BLOCKS_PER_S)])
    assert not any(opened[-int(20 * BLOCKS_PER_S) :])


def test_a_slow_rise_opens_nothing_and_is_heard_in_turn() -> None:
    ramp = np.repeat(10 ** (np.arange(300) * 0.1 / 20), BLOCK_SAMPLES)  # 0.8 dB a second
    counting = Counting()
    chain = Chain(1, counting, DetectorParams(), budget=Budget(100.0, 0.5))
    opened = play(chain, [(noise(300) * ramp).clip(-32768, 32767).astype(np.int16)])
    assert not any(row[0] for row in opened[10:])
    assert 0.3 < sum(counting.n) / (300 * 0.12) < 0.7


def test_gates_open_independent_of_loudness() -> None:
    quiet, loud = Gate(1), Gate(1)
    rng = np.random.default_rng(5)
    frames = rng.normal(0.0, 0.2, (60, 1, 12, 64)).astype(np.float32)
    for block in frames:
        quiet.step(np.array([0]), block - 3.0)
        loud.step(np.array([0]), block + 2.0)
        np.testing.assert_allclose(quiet.novelty, loud.novelty, atol=1e-4)


def test_few_nodes_are_heard_as_if_there_were_no_gate() -> None:
    counting = Counting()
    play(Chain(8, counting, DetectorParams()), [noise(100, seed=seed) for seed in range(8)])
    assert sum(counting.n) == 8 * 47  # every second block, once six of the eight of a patch are there


def test_the_budget_goes_to_what_stands_out_and_nobody_is_forgotten() -> None:
    counting = Counting()
    n_nodes, n_blocks = 60, 200
    chain = Chain(n_nodes, counting, DetectorParams(), budget=Budget(60.0, 20.0))
    sounds = [noise(n_blocks, seed=seed) for seed in range(n_nodes)]
    for node in range(4):  # something every second, much louder than the street
        for begin in range(60, n_blocks, 8):
            at = begin * BLOCK_SAMPLES
            sounds[node][at : at + 2_000] = noise(2, 6_000.0, seed=node)[:2_000]
    play(chain, sounds)
    assert sum(counting.n) <= 60 * n_blocks * 0.12
    end = T0 + n_blocks * BLOCK_SAMPLES * SAMPLE_NS
    waited_s = [(end - at) / 1e9 for at in last_patches(chain)]
    assert max(waited_s[:4]) < 0.5  # as often as any node of a small site
    assert max(waited_s) < 60 / 20 + 1.0
    assert chain.n_skipped == 0


def test_what_the_budget_has_no_room_for_is_counted() -> None:
    counting = Counting()
    chain = Chain(20, counting, DetectorParams(), budget=Budget(10.0, 2.0))
    loud = [np.concatenate([noise(60, seed=seed), noise(60, 4_000.0, seed=seed)]) for seed in range(20)]
    play(chain, loud)
    assert chain.n_skipped > 300
    assert sum(counting.n) <= 10 * 120 * 0.12 + 1
    assert all(last_patches(chain)), "the round reached everybody all the same"


def test_a_patch_that_is_nearly_an_event_is_followed_by_the_next() -> None:
    shy, curious = Counting(-9.0), Counting(-1.0)
    for counting in (shy, curious):
        play(Chain(1, counting, DetectorParams(), budget=Budget(100.0, 0.5)), [noise(200)])
    assert sum(curious.n) > 5 * sum(shy.n)


def test_patches_far_apart_make_no_median() -> None:
    """Two patches seconds apart are two sounds: an event needs two in a row."""
    sure = Counting(3.0)
    chain = Chain(1, sure, DetectorParams((2,) * len(CLASS_NAMES)), budget=Budget(1.0, 0.3))
    chain.gate.keep_open = lambda *_: None  # nothing makes the next patch come soon
    for end in range(BLOCK_SAMPLES, 100 * BLOCK_SAMPLES, BLOCK_SAMPLES):
        chain.push(0, noise(1, seed=end), T0 + end * SAMPLE_NS, [])
        assert chain.advance()[1] == []
    assert sum(sure.n) > 2


def test_floors_of_many_nodes_are_those_of_each() -> None:
    rng = np.random.default_rng(2)
    floors, alone = np.full(5, np.nan), np.full(5, np.nan)
    for _ in range(50):
        levels = rng.normal(-50, 6, (5, 12)).astype(np.float32)
        floors = next_floors(floors, levels)
        alone = np.concatenate([next_floors(alone[i : i + 1], levels[i : i + 1]) for i in range(5)])
        assert floors.tolist() == alone.tolist()
