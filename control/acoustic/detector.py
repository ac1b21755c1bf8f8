"""From the classifier's margins to events: one pure step per patch and node.

A margin is how far a class lies above its own threshold, in units of log odds; the thresholds belong to the trained
head. Margins go through a short median, then through hysteresis: an event begins where the median reaches zero and
lasts until it has stayed below the lower edge for a while. The class with the highest margin gets the event; what
follows at the same node within its hold-off belongs to the same happening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES

N_CLASSES: Final = len(CLASS_NAMES)
NEVER_NS: Final = -(1 << 62)
NONE: Final = -1
QUIET: Final = np.full(N_CLASSES, -np.inf, dtype=np.float32)
MEDIAN_PATCHES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class DetectorParams:
    """How margins become events.

    Attributes:
        median_patches: per class, how many patches the median spans (1…5): 1 for impulses, which touch few patches.
        release_margin: per class, where an event ends; negative, so that it lies below the threshold.
        release_s: how long the median stays below it until the event is over.
        hold_off_s: per class, the shortest time between two events of the class at a node.
        shadow_s: after an event, how long other classes at the node are taken for the same happening.
    """

    median_patches: tuple[int, ...] = (1,) * N_CLASSES
    release_margin: tuple[float, ...] = (-1.5,) * N_CLASSES
    release_s: float = 0.9
    hold_off_s: tuple[float, ...] = (5.0,) * N_CLASSES
    shadow_s: float = 1.5

    def __post_init__(self) -> None:
        for name in ("median_patches", "release_margin", "hold_off_s"):
            if len(getattr(self, name)) != N_CLASSES:
                raise ValueError(f"{name} needs {N_CLASSES} values, one per class")
        if not all(1 <= n <= MEDIAN_PATCHES_MAX for n in self.median_patches):
            raise ValueError(f"median_patches outside 1…{MEDIAN_PATCHES_MAX}")
        if any(margin > 0.0 for margin in self.release_margin):
            raise ValueError("release_margin above the threshold: an event would end as it begins")


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the detector remembers of one node.

    Attributes:
        recent: up to five latest margins, newest last, each (n_classes,).
        active: index of the class that is sounding, or -1.
        below_since_ns: since when its median has been under the release margin, or ``NEVER_NS``.
        last_event_ns: per class, when it last gave an event.
        last_any_ns: when the node last gave an event.
    """

    recent: tuple[NDArray[np.float32], ...] = ()
    active: int = NONE
    below_since_ns: int = NEVER_NS
    last_event_ns: tuple[int, ...] = (NEVER_NS,) * N_CLASSES
    last_any_ns: int = NEVER_NS


@dataclass(frozen=True, slots=True)
class Detection:
    """An event begins.

    Attributes:
        class_index: into ``CLASS_NAMES``.
        margin: of the median above the threshold.
        confidence: 0.5 at the threshold, rising to 1.
        mono_ns: end of the patch that decided.
    """

    class_index: int
    margin: float
    confidence: float
    mono_ns: int


def confidence_of(margin: float) -> float:
    """Confidence of a margin: 0.5 at the threshold, to four digits."""
    return round(float(1.0 / (1.0 + np.exp(-np.clip(margin, -30.0, 30.0)))), 4)


def filtered(recent: tuple[NDArray[np.float32], ...], median_patches: tuple[int, ...]) -> NDArray[np.float32]:
    """Median of each class over its latest patches; until there are enough, a missing patch counts as quiet."""
    out = np.empty(N_CLASSES, dtype=np.float32)
    for n in set(median_patches):
        latest = recent[-n:]
        if len(latest) == 1:
            median = latest[0] if n == 1 else QUIET
        elif len(latest) * 2 <= n:
            median = QUIET
        else:
            ordered = np.sort(np.stack([*latest, *[QUIET] * (n - len(latest))]), axis=0)
            median = (ordered[(n - 1) // 2] + ordered[n // 2]) * np.float32(0.5)
        if len(set(median_patches)) == 1:
            return median
        chosen = [c for c, of_class in enumerate(median_patches) if of_class == n]
        out[chosen] = median[chosen]
    return out


def step(
    state: NodeState, margins: NDArray[np.float32], mono_ns: int, params: DetectorParams
) -> tuple[NodeState, Detection | None]:
    """Take the margins of one patch of one node.

    Args:
        state: of the node.
        margins: (n_classes,) log odds above each class's threshold.
        mono_ns: capture time of the patch's last sample; does not run backwards.
        params: how margins become events.

    Returns:
        The new state, and the event that begins with this patch, if one does.
    """
    recent = (*state.recent[-(MEDIAN_PATCHES_MAX - 1) :], margins)
    median = filtered(recent, params.median_patches)
    active, below_since_ns = state.active, NEVER_NS
    if active != NONE and median[active] < params.release_margin[active]:
        below_since_ns = mono_ns if state.below_since_ns == NEVER_NS else state.below_since_ns
        if mono_ns - below_since_ns >= int(params.release_s * 1e9):
            active, below_since_ns = NONE, NEVER_NS
    chosen = _candidate(state, median, mono_ns, active, params)
    if chosen == NONE:
        return NodeState(recent, active, below_since_ns, state.last_event_ns, state.last_any_ns), None
    times = tuple(mono_ns if c == chosen else was for c, was in enumerate(state.last_event_ns))
    margin = float(median[chosen])
    found = Detection(chosen, margin, confidence_of(margin), mono_ns)
    return NodeState(recent, chosen, NEVER_NS, times, mono_ns), found


def glance(
    state: NodeState, margins: NDArray[np.float32], mono_ns: int, params: DetectorParams
) -> tuple[NodeState, Detection | None]:
    """Take the margins of one quick look at an onset: there is only one of it, so no median is asked for.

    Args:
        state: of the node.
        margins: (n_classes,) log odds above each class's threshold, -inf where the look does not tell.
        mono_ns: capture time of the last sample that was looked at.
        params: how margins become events.

    Returns:
        The new state, and the event that begins with this look, if one does.
    """
    chosen = _candidate(state, margins, mono_ns, state.active, params)
    if chosen == NONE:
        return state, None
    times = tuple(mono_ns if c == chosen else was for c, was in enumerate(state.last_event_ns))
    margin = float(margins[chosen])
    found = Detection(chosen, margin, confidence_of(margin), mono_ns)
    return NodeState(state.recent, chosen, NEVER_NS, times, mono_ns), found


def _candidate(
    state: NodeState, median: NDArray[np.float32], mono_ns: int, active: int, params: DetectorParams
) -> int:
    """Class whose event begins now, or -1."""
    if mono_ns - state.last_any_ns < int(params.shadow_s * 1e9):
        return NONE
    best = int(np.argmax(median))
    if not median[best] >= 0.0 or best == active:
        return NONE
    if mono_ns - state.last_event_ns[best] < int(params.hold_off_s[best] * 1e9):
        return NONE
    return best
