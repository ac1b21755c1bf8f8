"""The report of a training as a page to read."""

from __future__ import annotations

from typing import Any

from gwanje.control.acoustic.training.patches import TEST_SNR_DB

_HEAD = """# How well the acoustic head hears

Written by `python -m gwanje.control.acoustic.train`. Every figure comes from five-fold cross-validation by *source
recording*: no head is scored on a recording it has heard, nor on another cut of the same recording, nor over a
background it has heard. Synthetic sounds are trained on and never counted.

Training `{training:.16}…` on {events} event clips and {negatives} negative clips ({trained_on} patches of 0.96 s, of
which {synthetic} synthetic).

## What the figures can and cannot say

- **Few sources.** A class with one or two sources has no meaningful recall: the interval says so ([0, 1] for a single
  source). Real recordings from the street are what improves these classes, not more training.
- **The negatives are hard and dense.** {hours:.2f} h of negatives are {negatives} different clips, each played twice:
  gun locks, fireworks, dropped metal, glass taps and cockerels every four seconds. One alarm an hour here is
  {allowed:d} alarm on this set, so a single clip can set a class's threshold. A street has hours between two of them.
- **Chosen on the same clips.** A threshold is set and its recall counted on the same held-out scores, and the few
  parameters of the fit were chosen by them: on other recordings expect somewhat less.
- **Confusable by nature.** Fireworks, balloon pops and gunshots, thunder and explosions are told apart poorly by
  0.96 s of one microphone.
- The threshold of a class is the score that these negatives reach once an hour; `acoustic.toml` shifts it per site.
"""


def markdown(report: dict[str, Any]) -> str:
    """The page."""
    lines = [
        _HEAD.format(
            training=report["training"], **report["clips"], **report["patches"], hours=report["negative_hours"],
            allowed=int(report["negative_hours"]),
        )
    ]  # fmt: skip
    snrs = [f"{snr:g}" for snr in TEST_SNR_DB]
    lines += [
        "## Recall at one false alarm per hour and class, by event-to-background ratio",
        "",
        "Mean over sources, within 2 s of the onset; 95 % interval by drawing sources.",
        "",
        "| class | clips | sources | threshold | " + " | ".join(f"{snr} dB" for snr in snrs) + " |",
        "|---|---|---|---|" + "---|" * len(snrs),
    ]
    for name, row in report["classes"].items():
        recall, interval = row["recall_at_1fa_per_h"], row["ci95"]
        cells = [f"{recall[snr]:.2f} [{interval[snr][0]:.2f}, {interval[snr][1]:.2f}]" for snr in snrs]
        lines.append(f"| {name} | {row['clips']} | {row['sources']} | {row['threshold']:.2f} | {' | '.join(cells)} |")
    chain = report["chain"]
    lines += [
        "",
        "## The whole chain (levels, patches, medians, hold-off) on the same scenes",
        "",
        f"{chain['false_alarms']} false alarms in {chain['negative_hours']:.2f} h of these negatives, all classes "
        f"together: {chain['false_alarms_per_hour']} per hour. "
        f"Onset to decision: median {chain['latency_s']['p50']} s, "
        f"99 % {chain['latency_s']['p99']} s.",
        "",
        f"| class | clips | {' | '.join(f'{snr} dB' for snr in snrs)} "
        "| latency p50/p99 | onset ± 0.5 s | false alarms |",
        "|---|---|" + "---|" * (len(snrs) + 3),
    ]
    for name, row in chain["classes"].items():
        found = " | ".join(_text(row["found_within_2s"][snr]) for snr in snrs)
        delay = f"{_text(row['latency_s']['p50'])} / {_text(row['latency_s']['p99'])} s"
        onset = _text(row["onset_within_500ms"])
        lines.append(f"| {name} | {row['clips']} | {found} | {delay} | {onset} | {row['false_alarms']} |")
    return "\n".join(lines) + "\n"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
