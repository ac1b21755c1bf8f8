"""The controller's tags in a site: what it reads, which tag stands for each of its commands, what is shown.

For a command ``area.device.q`` the part writes ``control.device.q``; a command that a device holds (``q_command``, of a
breaker, of forming, of starting) has ``q_order`` for programs: 0 says nothing, 1 orders on, 2 orders off. The batteries
of the compiled loop have no set-point of ours: ``microgrid.device.discharge_wanted_w`` tells the loop what is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from gwanje.control.loop import LAW_TAG, LIMIT_TAG, lease_tag, wanted_tag
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.params import ControlConfig
from gwanje.control.microgrid.settings import Settings
from gwanje.core.site.config import Site
from gwanje.core.site.devices import Setpoint
from gwanje.core.tags.table import TagTable

OWNER = "microgrid"
LEASE = "microgrid"
LOOP_TAGS = ("control.tie.mode", "control.tie.unserved_w", "control.tie.net_load_w", "control.tie.correction_w")
ORDER_WORDS = ("close_command", "reset_command", "forming_command", "start_command")
PATIENT_FROM_S = 1.0
"""A tag that goes stale later than this is told once a second or slower."""

Ids = npt.NDArray[np.int32]


class Kind(Enum):
    """How a command becomes a tag."""

    ORDER = "order"
    SETPOINT = "setpoint"
    WANTED = "wanted"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the controller.

    Attributes:
        name: as the controller names it.
        tag: that is written for it.
        kind: how.
        feedback: tag in which the device tells what it holds; empty for none.
        top: a value at or above it means "no limit"; infinite where there is no such.
        idle: what is written when the controller commands nothing; NaN where a tag without a value says so.
        free: what is written for "no limit".
    """

    name: str
    tag: str
    kind: Kind
    feedback: str = ""
    top: float = math.inf
    idle: float = math.nan
    free: float = math.nan


class BindingError(ValueError):
    """The site lacks tags or devices; the text names each."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything by name; see the module.

    Attributes:
        reads: ids of the controller's tags, -1 where the site has none.
        patience_s: by how much each may be older than a fast value: what its device tells seldom.
        commands: in the controller's order.
        battery_tags: set-point tag of the compiled loop for each battery, empty for one of ours.
        lease_points: tags that the lease covers.
        loop_lease_tag: until when the lease of the compiled loop is valid.
    """

    reads: Ids
    patience_s: npt.NDArray[np.float64]
    commands: tuple[Command, ...]
    battery_tags: tuple[str, ...]
    lease_points: tuple[str, ...]
    loop_lease_tag: str


def bind(site: Site, config: ControlConfig, controller: MicrogridController) -> Binding:
    """Find every tag of a controller in a site.

    Raises:
        BindingError: with all that is missing.
    """
    tags, settings = site.tags, controller.settings
    setpoints = {one.tag: one for device in site.devices for one in device.setpoints}
    looped = {one.discharge_tag.rpartition(".")[0]: one for one in config.battery}
    battery_tags = tuple(looped[one.name].setpoint_tag if one.name in looped else "" for one in settings.battery)
    wanted = {f"{name}.discharge_setpoint_w": wanted_tag(one) for name, one in looped.items()}
    held = {f"{name}.discharge_setpoint_w": one.setpoint_tag for name, one in looped.items()}
    commands = tuple(_command(name, wanted, held, setpoints, _tops(settings)) for name in controller.writes)
    needed = [*(one.tag for one in commands), LAW_TAG, LIMIT_TAG, "grid.breaker.closed", "grid.bus.voltage_v"]
    missing = [f"no tag {name!r}" for name in needed if name not in tags]
    missing += [
        f"tag {one.tag!r} belongs to {tags.get(one.tag).owner!r}, not to {OWNER!r}"
        for one in commands
        if one.tag in tags and tags.get(one.tag).owner != OWNER
    ]
    if missing:
        raise BindingError("; ".join(missing))
    points = tuple(one.tag for one in commands if one.tag in setpoints and setpoints[one.tag].lease == LEASE)
    return Binding(
        ids_of(tags, controller.reads), _patience_s(tags, controller.reads), commands, battery_tags, points,
        lease_tag(config),
    )  # fmt: skip


def ids_of(tags: TagTable, names: Sequence[str]) -> Ids:
    """Ids of tags, -1 where the site has none."""
    return np.array([tags.index(name) if name in tags else -1 for name in names], np.int32)


def tag_of(command: str) -> str:
    """The tag that a program writes for a command of the controller."""
    _, device, quantity = command.split(".")
    if quantity in ORDER_WORDS:
        quantity = f"{quantity.removesuffix('_command')}_order"
    return f"control.{device}.{quantity}"


def _command(
    name: str, wanted: dict[str, str], held: dict[str, str], setpoints: dict[str, Setpoint], tops: dict[str, float]
) -> Command:
    if name in wanted:
        device = setpoints.get(held[name])
        return Command(name, wanted[name], Kind.WANTED, device.feedback_tag if device is not None else "")
    tag = tag_of(name)
    device = setpoints.get(tag)
    feedback = device.feedback_tag if device is not None else ""
    if name.rpartition(".")[2] in ORDER_WORDS:
        return Command(name, tag, Kind.ORDER, feedback)
    failsafe = device.failsafe if device is not None else math.nan
    # A battery that is not known yet must not be told anything; a machine that is not used gives nothing.
    idle = math.nan if name.endswith(".discharge_setpoint_w") else failsafe
    return Command(name, tag, Kind.SETPOINT, feedback, tops.get(name, math.inf), idle, failsafe)


def _tops(settings: Settings) -> dict[str, float]:
    """Commands that limit → from which value on they do not."""
    found = {f"{one.name}.generation_w_max_setpoint": one.rated_w for one in settings.source}
    for one in settings.flexible:
        found[f"{one.load}.{one.command}"] = 1.0 if one.command == "dim_command" else one.rated_w
    return found


def _patience_s(tags: TagTable, reads: Sequence[str]) -> npt.NDArray[np.float64]:
    """What is told seldom is as fresh as it can be until its tag goes stale; the slow words have their own time."""
    found = np.zeros(len(reads))
    for at, name in enumerate(reads):
        stale_s = tags.get(name).stale_after_s if name in tags else 0.0
        if stale_s > PATIENT_FROM_S and not name.endswith((".soc", ".available_w", "_w_max")):
            found[at] = stale_s
    return found
