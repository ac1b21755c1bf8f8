"""The table ``acoustic.toml`` of a site: how its sounds become events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gwanje.control.acoustic.chain import ALL_PER_S, ROUND_PER_S, Budget
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.echo import NODE_QUANTITIES as OWN_SOUND
from gwanje.control.acoustic.live.settings import FIGURES, VERDICTS, LiveSettings, read_live
from gwanje.control.acoustic.own_model import MODEL_SUFFIXES, OUTPUT_KINDS, ModelFile
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import Document, KeyPath, Reader

FILE: Final = "acoustic.toml"
TAGS_FILE: Final = "tags/acoustic.toml"


@dataclass(frozen=True, slots=True)
class AcousticSettings:
    """How a site listens.

    Attributes:
        enabled: per class, whether it gives events.
        threshold_shift: per class, added to the trained threshold, log odds: above 0 fewer events, below 0 more.
        hold_off_s: per class, the shortest time between two events of the class at a node.
        shadow_s: after an event, how long other classes at the node are taken for the same happening.
        release_margin: log odds under the threshold at which an event ends; negative.
        release_s: how long it stays there until the event is over.
        quiet_above_floor_db: while nothing is this much louder than the noise floor, every second patch is left out.
        class_shown_s: how long the tag ``event_class`` shows an event.
        budget: of the classifier over all nodes.
        model: of the site's own, in place of the shipped one.
        live: what follows a sound.
    """

    enabled: tuple[bool, ...]
    threshold_shift: tuple[float, ...]
    hold_off_s: tuple[float, ...]
    shadow_s: float
    release_margin: float
    release_s: float
    quiet_above_floor_db: float
    class_shown_s: float
    budget: Budget
    model: ModelFile | None = None
    live: LiveSettings = LiveSettings()  # noqa: RUF009 frozen

    def detector(self, median_patches: tuple[int, ...]) -> DetectorParams:
        """Parameters of the detector for a head trained with these medians."""
        return DetectorParams(
            median_patches, (self.release_margin,) * len(CLASS_NAMES), self.release_s, self.hold_off_s, self.shadow_s
        )


def _settings(reader: Reader) -> AcousticSettings:
    detector = reader.reader("detector") or Reader(reader.document, ("detector",), {})
    shared_hold_off_s = detector.number("hold_off_s", 5.0, 0.5, 600.0)
    enabled, shift, hold_off = [], [], []
    classes = reader.reader("class") or Reader(reader.document, ("class",), {})
    for name in CLASS_NAMES:
        one = classes.reader(name) or Reader(reader.document, ("class", name), {})
        enabled.append(one.flag("enabled", True))
        shift.append(one.number("threshold_shift", 0.0, -10.0, 10.0))
        hold_off.append(one.number("hold_off_s", shared_hold_off_s, 0.5, 600.0))
        one.finish()
    classes.finish()
    settings = AcousticSettings(
        tuple(enabled),
        tuple(shift),
        tuple(hold_off),
        detector.number("shadow_s", 1.5, 0.0, 60.0),
        detector.number("release_margin", -1.5, -20.0, 0.0),
        detector.number("release_s", 0.9, 0.0, 60.0),
        detector.number("quiet_above_floor_db", 3.0, 0.0, 40.0),
        detector.number("class_shown_s", 5.0, 1.0, 600.0),
        Budget(
            detector.number("patches_per_s", ALL_PER_S, 1.0, 5_000.0),
            detector.number("round_per_s", ROUND_PER_S, 0.0, 5_000.0),
        ),
    )
    settings = replace(settings, live=read_live(reader))
    model = reader.reader("model")
    if model is not None:
        settings = replace(settings, model=_model(model))
    if settings.budget.round_per_s > settings.budget.all_per_s:
        detector.problem("round_per_s", "more than patches_per_s leaves nothing for sounds that stand out")
    detector.finish()
    reader.finish()
    return settings


def _model(reader: Reader) -> ModelFile | None:
    """The table ``[model]``: a site's own classifier."""
    path = Path(reader.text("file", ""))
    sha256 = reader.text("sha256", "").lower()
    output = reader.text("output", "probability", OUTPUT_KINDS)
    if path.suffix not in MODEL_SUFFIXES:
        reader.problem("file", f"{str(path)!r} ends in none of {', '.join(MODEL_SUFFIXES)}")
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        reader.problem("sha256", "not the 64 hexadecimal digits of a SHA-256")
    columns: list[tuple[int, ...]] = []
    thresholds, medians = [], []
    classes = reader.reader("class") or Reader(reader.document, ("model", "class"), {})
    for name in CLASS_NAMES:
        one = classes.reader(name)
        if one is None:
            columns.append(())
            thresholds.append(float("inf"))
            medians.append(1)
            continue
        named = one.sequence("columns", required=True)
        if not all(isinstance(column, int) and 0 <= column < 100_000 for column in named) or not named:
            one.problem("columns", "expected numbers of the model's outputs, from 0")
            named = []
        columns.append(tuple(named))
        thresholds.append(one.number("threshold", 0.0, -50.0, 50.0))
        medians.append(int(one.number("median_patches", 2, 1, 5)))
        one.finish()
    classes.finish()
    reader.finish()
    return ModelFile(path, sha256, output, tuple(columns), tuple(thresholds), tuple(medians))


class _Noting(Document):
    """A document that keeps the key paths of its problems."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(FILE, content, {(): 1})
        self.noted: list[tuple[KeyPath, str]] = []

    def problem(self, path: KeyPath, reason: str) -> None:
        """Note what is wrong at a key."""
        self.noted.append((path, reason))


def read_settings(content: dict[str, Any]) -> tuple[AcousticSettings, list[tuple[KeyPath, str]]]:
    """Settings from the parsed table, and what is wrong with it: (key path, reason)."""
    document = _Noting(content)
    return _settings(document.root()), document.noted


NODE_QUANTITIES: Final = ("event_class", "event_confidence", "noise_floor_db", "array_health")
PART_QUANTITIES: Final = (
    "model", "latency_ms", "load_pct", "events", "patches", "open_gates", "patch_rate", "skipped", *FIGURES,
)


def tag_names(prefixes: tuple[str, ...]) -> list[str]:
    """Tags the part writes: those of each node, then its own."""
    of_nodes = [f"{prefix}.{quantity}" for prefix in prefixes for quantity in NODE_QUANTITIES]
    of_part = [f"system.acoustic.{quantity}" for quantity in PART_QUANTITIES]
    return of_nodes + ([*of_part, *VERDICTS] if prefixes else [])


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's ``acoustic.toml``, and with its tags for the nodes: (file, key path, reason)."""
    found = [(FILE, path, reason) for path, reason in read_settings(site.acoustic)[1]]
    own_sound = [f"{node.prefix}.{word}" for node in site.nodes for word in OWN_SOUND]
    for name in [*tag_names(tuple(node.prefix for node in site.nodes)), *own_sound]:
        if name not in site.tags:
            found.append((TAGS_FILE, (), f"tag {name!r} is missing: the acoustic chain writes it"))
        elif site.tags.get(name).owner != "acoustic":
            found.append((TAGS_FILE, (), f"tag {name!r} must have the owner 'acoustic'"))
    return found
