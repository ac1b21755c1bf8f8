"""The report of a training as a page to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gwanje.control.acoustic.evaluation.mixes import SNR_DB
from gwanje.control.acoustic.evaluation.play import Played
from gwanje.control.acoustic.evaluation.score import found

_HEAD = """# How well the acoustic heads hear

Written by `gwanje acoustic train`. Every figure comes from five-fold cross-validation by *source recording*: no head is
judged on a recording it has heard, nor on another cut of the same recording, nor over a background it has heard. Made
and altered sounds are learnt from and never counted.

Training `{training:.16}…`, seed {seed}, heads `{head_sha256:.16}…`: {events} recordings of events and {negatives} of
everyday sounds; {trained_on} judgements learnt from, of which {made} of made sounds.

## What the figures can and cannot say

- **Few recordings.** The interval is Wilson's with as many trials as there are source recordings, the only thing that
  is independent: five of five are [0.57, 1.00]. Recordings from the street are what improves these classes.
- **The everyday sounds are hard and dense.** {negative_hours:g} h in which they follow each other with hardly a pause,
  {per_h:.0f} an hour: gun locks, fireworks, dropped metal, glass taps, cockerels. One false alarm an hour here is one
  in {per_h:.0f} everyday sounds.
- **Chosen on the same recordings.** Thresholds are set, and the few parameters of the fit were chosen, by these very
  scores: on other recordings expect somewhat less.
"""


def found_share(played: Sequence[Played]) -> dict[str, float | None]:
    """By ratio, the share of mixes whose event raised the right alarm in time at the thresholds of the program."""
    out: dict[str, float | None] = {}
    for snr_db in SNR_DB:
        hits = [found(one) is not None for one in played if one.mix.snr_db == snr_db]
        out[f"{snr_db:g}"] = round(sum(hits) / len(hits), 3) if hits else None
    return out


def markdown(report: dict[str, Any]) -> str:
    """The page."""
    snrs = [f"{snr:g}" for snr in SNR_DB]
    lines = [_HEAD.format(**{k: v for k, v in report.items() if k not in ("clips", "patches")},
                          **report["clips"], **report["patches"], per_h=report["everyday_per_hour"])]  # fmt: skip
    lines += [
        "## Recall at one false alarm an hour and class, by event-to-background ratio",
        "",
        "Mean over recordings, alarm within 2 s of the onset; 95 % interval.",
        "",
        "| class | recordings | sources | " + " | ".join(f"{snr} dB" for snr in snrs) + " | event F1 |",
        "|---|---|---|" + "---|" * (len(snrs) + 1),
    ]
    for name, row in report["classes"].items():
        recall, interval = row["recall_at_1fa_per_h"], row["ci95"]
        cells = [f"{recall[snr]:.2f} [{interval[snr][0]:.2f}, {interval[snr][1]:.2f}]" for snr in snrs]
        lines.append(f"| {name} | {row['clips']} | {row['sources']} | {' | '.join(cells)} | {_text(row['event_f1'])} |")
    latency = report["latency_s"]
    lines += [
        "",
        "## As shipped: thresholds for one false alarm a day and node in a mixed street",
        "",
        f"{report['false_alarms_per_hour']:g} false alarms an hour of the crowded streets, all classes together. From "
        f"the onset to the alarm: median {_text(latency['p50'])} s, 99 % {_text(latency['p99'])} s; impulses "
        f"{_text(report['impulse_latency_s']['p50'])} s and {_text(report['impulse_latency_s']['p99'])} s.",
        "",
        f"| class | {' | '.join(f'{snr} dB' for snr in snrs)} | false alarms | thresholds |",
        "|---|" + "---|" * (len(snrs) + 2),
    ]
    for name, row in report["classes"].items():
        shares = " | ".join(_text(row["found_as_shipped"][snr]) for snr in snrs)
        limits = " / ".join(_text(one) for one in row["thresholds"])
        lines.append(f"| {name} | {shares} | {row['false_alarms']} | {limits} |")
    if report.get("esc10"):
        esc = report["esc10"]
        by_fold = ", ".join(f"{fold}: {share:.1%}" for fold, share in esc["by_fold"].items())
        lines += [
            "", "## ESC-10", "",
            f"{esc['accuracy']:.1%} of {esc['clips']} recordings of {esc['kinds']} kinds told right, over the set's "
            f"own folds ({by_fold}).",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
