"""What a running part needs for its tuning beside the desk: where its book lies, and what others have on watch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gwanje.control.tuning.owner import FILE_BYTES_MAX, Owner
from gwanje.core.city.part import PartContext
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import is_bad


def tuning_file(ctx: PartContext, owner: Owner) -> StateFile:
    """Where changes of parameters are kept: with the site's data, for every run of it."""
    folder = Path(ctx.options.data_dir).parent if ctx.options.data_dir else ctx.run_dir
    return StateFile(folder / owner.file, FILE_BYTES_MAX, durable=True)


def on_watch_elsewhere(ctx: PartContext, other: Owner) -> Callable[[], str]:
    """Gives the set that another part has on watch, as people name it; empty for none, or when that part is away."""
    if other.apply_point not in ctx.tags:
        return lambda: ""
    point = ctx.tags.index(other.apply_point)

    def look() -> str:
        sample = ctx.store.read(point, ctx.clock.mono_ns())
        return "" if is_bad(sample.quality) or sample.value <= 0.0 else other.label(int(sample.value))

    return look
