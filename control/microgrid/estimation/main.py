"""The part ``estimation``: once a second the network's state from the tag store, with tags, events and suspicions.

It reads meters and switches, and writes nothing but tags of its own: nobody is commanded by an estimate.
"""

from __future__ import annotations

import numpy as np

from gwanje.control.microgrid.estimation import suspicion
from gwanje.control.microgrid.estimation.blame import ObserveState
from gwanje.control.microgrid.estimation.channels import ObserveInputs
from gwanje.control.microgrid.estimation.figures import figures, named_words
from gwanje.control.microgrid.estimation.model import Model, build
from gwanje.control.microgrid.estimation.observe import observe
from gwanje.control.microgrid.estimation.picture import Mode, Named, Picture
from gwanje.control.microgrid.estimation.settings import FILE, OWNER, check_tags, read_settings
from gwanje.control.microgrid.estimation.suspicion import SuspicionState
from gwanje.control.microgrid.files.family_files import FamilyFileError
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.tags.quality import Quality, is_bad
from gwanje.core.tags.store import StoreError, TagWriter

TURN_NS = 1_000_000_000
BAD = int(Quality.BAD)
UNSEEN = "unobservable"
"""Name under which buses without meters are watched like a suspicion."""
BUSES_NAMED = 6
"""In an event; the rest is counted."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: a file of the site is wrong, or another process writes the tags.
    """
    model = read_site(ctx)
    try:
        writer = ctx.store.writer(OWNER)
    except StoreError as error:
        raise PartError(str(error)) from error
    estimation = Estimation(ctx, model, writer)
    deadline = ctx.clock.mono_ns() + TURN_NS
    while ctx.clock.wait_until_mono_ns(deadline, ctx.stop_fd):
        estimation.turn()
        deadline = max(deadline + TURN_NS, ctx.clock.mono_ns())
    writer.close()


def read_site(ctx: PartContext) -> Model:
    """The site's network and meters.

    Raises:
        PartError: with every problem in one line.
    """
    try:
        settings = read_settings(ctx.site.root)
        check_tags(settings, ctx.tags)
    except ControlConfigError as errors:
        raise PartError(f"{FILE}: " + "; ".join(str(errors).splitlines())) from None
    except FamilyFileError as error:
        raise PartError(str(error)) from None
    return build(settings, ctx.tags)


class Estimation:
    """The part's turns; see the module.

    Args:
        ctx: of the part.
        model: of the site.
        writer: of the tags.

    Attributes:
        picture: of the last turn.
    """

    def __init__(self, ctx: PartContext, model: Model, writer: TagWriter) -> None:
        self._ctx, self._model, self._writer = ctx, model, writer
        self._publisher: Publisher = ctx.bus.publisher()
        tags = [tag for one in model.channels for tag in one.tags]
        self._read_ids = ctx.tags.indices(tags)
        self._begins = np.cumsum([0, *(len(one.tags) for one in model.channels[:-1])])
        self._units = [ctx.tags.get(one.tags[0]).unit for one in model.channels]
        self._switch_tags = tuple(model.settings.switches())
        self._switch_ids = ctx.tags.indices(self._switch_tags)
        names = model.settings.writes()
        order = np.argsort(ctx.tags.indices(names))
        self._names = [names[at] for at in order]
        self._write_ids = ctx.tags.indices(names)[order]
        self._simulated = any(ctx.tags.get(one).simulated for one in tags)
        self._state, self._meters, self._switches, self._seen = (
            ObserveState(), SuspicionState(), SuspicionState(), SuspicionState(),
        )  # fmt: skip
        self._turned_ns = 0
        self._turns = 0
        self._untold: list[Event] = []
        self.picture = Picture(Mode.UNKNOWN)

    def turn(self) -> None:
        """One second."""
        self._ctx.heartbeat()
        now_ns = self._ctx.clock.mono_ns()
        self._state, self.picture = observe(self._state, self._inputs(now_ns), self._model)
        self._turned_ns = now_ns
        self._suspect(self.picture)
        self._turns += 1
        if self._turns > 1:  # who has just begun is not heard yet
            for event in self._untold:
                self._publisher.event(event)
            self._untold.clear()
        self._show(now_ns)

    def _inputs(self, now_ns: int) -> ObserveInputs:
        read = self._ctx.store.read_many(self._read_ids, now_ns)
        value = np.where((read.quality & BAD) == 0, read.value, np.nan)
        age_s = (now_ns - read.received_mono_ns) / 1e9
        begins = self._begins
        switch = self._ctx.store.read_many(self._switch_ids, now_ns)
        closed = {
            tag: None if is_bad(int(quality)) else bool(position > 0.5)
            for tag, position, quality in zip(self._switch_tags, switch.value, switch.quality, strict=True)
        }
        angles = {}
        if self._model.angle:
            angle = self._ctx.store.read(self._ctx.tags.index(self._model.angle), now_ns)
            if not is_bad(angle.quality) and np.isfinite(angle.value):
                angles[self._model.angle] = angle.value
        return ObserveInputs(
            np.add.reduceat(value, begins), np.bitwise_or.reduceat(read.quality, begins),
            np.maximum.reduceat(age_s, begins), closed, (now_ns - self._turned_ns) / 1e9 if self._turned_ns else 1.0,
            angles,
        )  # fmt: skip

    def _suspect(self, picture: Picture) -> None:
        """Say what has lasted. Who is suspected and falls silent, or where nothing flows, has not been cleared."""
        turns = self._model.settings.general.persist_turns
        blind = picture.mode in (Mode.UNKNOWN, Mode.DEAD)
        held = self._meters.said if blind else self._meters.said & picture.silent
        self._meters, told = suspicion.step(self._meters, {*picture.named, *held}, turns)
        for name in told.begun:
            self._meter_begun(name, picture.named[name])
        for name in told.ended:
            ko, en = self._of_meter(name)
            self._tell("meter_trusted", f"{ko}: 다른 계량기와 다시 일치", f"{en}: agrees with the others again")
        held = self._switches.said if blind else self._switches.said & picture.silent_switches
        self._switches, told = suspicion.step(self._switches, {*picture.switches, *held}, turns)
        for name in told.begun:
            ko, en = self._of_switch(name)
            self._tell("switch_suspected", f"{ko}: 계량값과 맞지 않는 상태", f"{en}: it cannot be where it says")
        for name in told.ended:
            ko, en = self._of_switch(name)
            self._tell("switch_trusted", f"{ko}: 계량값과 다시 일치", f"{en}: agrees with the meters again")
        self._seen, told = suspicion.step(self._seen, (UNSEEN,) if picture.unobservable else (), turns)
        if told.begun:
            self._unseen_begun(picture.unobservable)
        if told.ended:
            self._tell("network_observable", "모든 모선을 다시 추정합니다", "every bus is told by meters again")

    def _meter_begun(self, name: str, why: Named) -> None:
        ko, en = self._of_meter(name)
        why_ko, why_en = named_words(why, self._units[why.channel])
        self._tell("meter_suspected", f"{ko} — {why_ko}", f"{en} {why_en}")

    def _unseen_begun(self, buses: tuple[str, ...]) -> None:
        names = {one.id: one for one in self._model.settings.bus}
        named, more = buses[:BUSES_NAMED], len(buses) - BUSES_NAMED
        ko, en = ", ".join(names[one].ko for one in named), ", ".join(names[one].en for one in named)
        self._tell(
            "network_not_observable", f"계량값으로 추정할 수 없는 모선: {ko}" + (f" 외 {more}" if more > 0 else ""),
            f"no meter tells these buses: {en}" + (f" and {more} more" if more > 0 else ""),
        )  # fmt: skip

    def _of_meter(self, name: str) -> tuple[str, str]:
        tag = self._ctx.tags.get(f"{OWNER}.{name}.meter_suspected")
        return tag.description_ko, tag.description_en

    def _of_switch(self, name: str) -> tuple[str, str]:
        tag = self._ctx.tags.get(f"{OWNER}.{name}.switch_suspected")
        return tag.description_ko, tag.description_en

    def _show(self, now_ns: int) -> None:
        """The tags; what is not known is BAD."""
        shown = figures(self.picture, self._model, self._meters.said, self._switches.said)
        marks = int(Quality.SIMULATED) if self._simulated else 0
        found = [shown.get(name) for name in self._names]
        value = np.array([np.nan if one is None else one.value for one in found])
        quality = np.array([BAD if one is None else one.quality for one in found], np.uint16)
        quality = np.where(np.isfinite(value), quality, BAD).astype(np.uint16) | np.uint16(marks)
        value = np.where(np.isfinite(value), value, 0.0)
        times = np.full(len(value), self._ctx.clock.utc_ns(), np.int64)
        self._writer.write(self._write_ids, value, quality, times, now_ns)
        self._publisher.scan(self._write_ids, value, quality, times)

    def _tell(self, class_name: str, ko: str, en: str) -> None:
        clock = self._ctx.clock
        self._untold.append(Event("control", OWNER, class_name, clock.utc_ns(), clock.mono_ns(), ko, en))
