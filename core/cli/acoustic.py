"""``gwanje acoustic``: how well the microphones hear, and training them anew."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from gwanje.core.cli import chirp
from gwanje.core.cli.parsing import CommandError, Commands

EVAL = "gwanje.control.acoustic.evaluation.command"
TRAIN = "gwanje.control.acoustic.train"
"""By name, because core imports no part."""


def add(commands: Commands) -> None:
    """Add the commands."""
    group = commands.group("acoustic", "how well the microphones hear, and training them anew")
    chirp.add(group)
    score = group.add("eval", _eval, "score a folder of recordings with a manifest.csv (columns class,path,…)")
    score.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder with manifest.csv")
    score.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    score.add_argument("--seed", type=_count, default=7, help="of the mixes (default: 7)")
    score.add_argument("--hours", type=_hours, default=4.0, help="of everyday sounds, at least (default: 4)")
    score.add_argument("--repeats", type=_repeats, default=3, help="of each event and ratio (default: 3)")
    score.add_argument(
        "--street-hours", type=_hours_or_none, default=0.0, metavar="H",
        help="node-hours of mixed streets besides, for false alarms per node and day (default: none)",
    )  # fmt: skip
    train = group.add("train", _train, "train the heads on a folder of recordings with a manifest.csv")
    train.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder with manifest.csv")
    train.add_argument("--out", type=Path, metavar="DIR", help="folder for the heads (default: those of the program)")
    train.add_argument("--folds", type=Path, metavar="DIR", help="folder for the heads of each fold, for tests")
    train.add_argument("--cache", type=Path, default=Path("build/acoustic"), help="where patches are kept")
    train.add_argument("--seed", type=_count, default=5, help="of scenes, synthesis and augmentation (default: 5)")


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError("must be 0…2147483647")
    return value


def _repeats(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 1…100")
    return value


def _hours(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 2000:
        raise argparse.ArgumentTypeError("must be 0.01…2000")
    return value


def _hours_or_none(text: str) -> float:
    return 0.0 if float(text) == 0.0 else _hours(text)


def _eval(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(EVAL)
    options = tool.EvalOptions(chosen.clips, chosen.seed, chosen.hours, chosen.repeats, chosen.street_hours)
    try:
        return int(tool.run(options, chosen.json))
    except tool.EvalError as error:
        raise CommandError(str(error)) from None


def _train(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(TRAIN)
    try:
        return int(tool.run(chosen.clips, chosen.out, chosen.folds, chosen.cache, chosen.seed))
    except tool.TrainError as error:
        raise CommandError(str(error)) from None
