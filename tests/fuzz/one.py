"""One target under atheris: ``python -m tests.fuzz.one TARGET STATS CORPUS [libFuzzer's options]``.

The mutator is the target's own, and libFuzzer's in one case of four; what reaches new code is kept and changed further.
"""

import mmap
import random
import struct
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gwanje.core"], enable_loader_override=False):
    from tests.fuzz.targets import RAW, TARGETS, BusTarget, ServicesTarget, WrongGood

STATS = struct.Struct("<6q")
"""Frames, findings, wrong GOODs, messages decoded or answers given, changes made, commands that left the core."""


def main() -> None:
    """Fuzz until the runs are done."""
    name, stats_path, corpus, *options = sys.argv[1:]
    target = TARGETS[name]()
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(target.seeds()):
        (folder / f"seed-{index:04}").write_bytes(seed)
    with Path(stats_path).open("w+b") as file:
        file.truncate(STATS.size)
        cell = mmap.mmap(file.fileno(), STATS.size)

    def note(findings: int, wrong: int) -> None:
        deep, changed, left = 0, 0, 0
        if isinstance(target, BusTarget):
            deep = target.decoded
        elif isinstance(target, ServicesTarget):
            deep, changed, left = target.answered, target.changed, target.left
        STATS.pack_into(cell, 0, target.frames, findings, wrong, deep, changed, left)

    def one_input(data: bytes) -> None:
        try:
            target.run(data)
        except WrongGood:
            note(1, 1)
            raise
        except BaseException:
            note(1, 0)
            raise
        if target.frames % 16 == 0 or target.frames > 1_000_000:
            note(0, 0)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.25:
            keep = data[:1] if data and data[0] >= RAW else b""
            return (keep + atheris.Mutate(data[len(keep) :], max_size - len(keep)))[:max_size]
        return target.mutate(data, rng)[:max_size]

    atheris.Setup([sys.argv[0], *options, corpus], one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
