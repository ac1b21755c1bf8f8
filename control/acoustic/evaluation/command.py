"""``gwanje acoustic eval``: scores the chain that the city runs on a folder of recordings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Ears
from gwanje.control.acoustic.evaluation.manifest import load_manifest, negatives_of
from gwanje.control.acoustic.evaluation.mixes import SNR_DB, crowded_streets, event_mixes, mixed_streets
from gwanje.control.acoustic.evaluation.play import play
from gwanje.control.acoustic.evaluation.score import hours_of, scores
from gwanje.control.acoustic.model import ModelError
from gwanje.control.acoustic.training.clips import ClipError

HOURS_MAX: Final = 2000.0


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What is scored, and how much of it.

    Attributes:
        clips: folder with a manifest.
        seed: of all mixes.
        hours: of negatives, at least.
        repeats: of every event at every ratio, over other backgrounds.
        street_hours: of mixed streets besides, in which everyday sounds are minutes apart; 0 leaves them out.
    """

    clips: Path
    seed: int = 7
    hours: float = 4.0
    repeats: int = 3
    street_hours: float = 0.0


class EvalError(Exception):
    """The folder cannot be scored; a line for every reason."""


def evaluate(options: EvalOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Score a folder.

    Raises:
        EvalError: something is wrong with the folder or with a model file; nothing was scored then.
    """
    try:
        clips = load_manifest(options.clips)
        negatives = negatives_of(clips)
        if not negatives:
            raise ClipError(f"{options.clips}: no neg_ recordings: there is nothing to mix the events into")
        ears = Ears.load()
        streets = crowded_streets(clips, options.hours, options.seed)
        events = event_mixes(clips, options.repeats, options.seed)
    except (ClipError, ModelError) as error:
        raise EvalError(str(error)) from None
    params = DetectorParams(ears.median_patches)
    say(f"{len(clips) - len(negatives)} recordings of events, {len(negatives)} of everyday sounds")

    def told(what: str, total: int) -> Callable[[int], None]:
        return lambda done: say(f"{what}: {done} of {total}")

    played = play(events, ears, params, say=told("mixes with an event", len(events)))
    quiet = play(streets, ears, params, say=told("minutes of everyday sounds, in pieces", len(streets)))
    found = scores(played, quiet)
    if options.street_hours > 0:
        mixed = mixed_streets(clips, options.street_hours, options.seed)
        calm = play(mixed, ears, params, say=told("mixed streets", len(mixed)))
        false = sum(len(one.heard) for one in calm)
        hours = hours_of(calm)
        found["mixed_streets"] = {
            "node_hours": round(hours, 3), "false_alarms": false,
            "false_alarms_per_node_day": round(false / hours * 24.0, 3),
        }  # fmt: skip
    return found


def table(found: dict[str, Any]) -> str:
    """The numbers as lines to read."""
    snrs = [f"{snr:g}" for snr in SNR_DB]
    lines = [f"{'class':<14}{'clips':>6}  " + "".join(f"{snr + ' dB':>20}" for snr in snrs) + f"{'event F1':>10}"]
    for name, row in found["classes"].items():
        cells = ""
        for snr in snrs:
            low, high = row["ci95"][snr]
            cells += f"{row['recall_at_1fa_per_h'][snr]:>6.2f} [{low:.2f}, {high:.2f}]".rjust(20)
        lines.append(f"{name:<14}{row['clips']:>6}  {cells}{row['event_f1'] or 0.0:>10.2f}")
    lines.append(
        f"recall at one false alarm an hour and class; {found['negative_hours']:g} h of everyday sounds, "
        f"{found['false_alarms_per_hour']:g} false alarms an hour at the thresholds of the program"
    )
    p50, p99 = found["latency_s"]["p50"], found["latency_s"]["p99"]
    if p50 is not None:
        lines.append(f"from the onset to the alarm: median {p50:.2f} s, 99 % {p99:.2f} s")
    missing = [name for name in CLASS_NAMES if name not in found["classes"]]
    if missing:
        lines.append(f"without recordings, not scored: {', '.join(missing)}")
    if "mixed_streets" in found:
        street = found["mixed_streets"]
        lines.append(f"mixed streets: {street['false_alarms']} false alarms in {street['node_hours']:g} node-hours")
    return "\n".join(lines)


def run(options: EvalOptions, as_json: bool) -> int:
    """The command; 0 when the folder was scored."""

    def say(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")

    found = evaluate(options, say)
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    sys.stdout.write((json.dumps(found, indent=1) if as_json else table(found)) + "\n")
    return 0
