"""The part ``hmi`` of a running city, and the command ``gwanje hmi``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S, Clock, SystemClock
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.store import StoreError
from gwanje.hmi.probe import WindowProbe

if TYPE_CHECKING:
    from gwanje.core.site.config import Site
    from gwanje.hmi.screen import Screen

ARRIVE_WITHIN_NS = 10 * NS_PER_S
"""How long a picture waits for values that do not come; then it shows what there is."""
SETTLE_NS = 3 * NS_PER_S
"""How long a picture lets trends and spectrogram fill after the last value; the day so far comes from history."""
TELL_NS = NS_PER_S
"""How often a picture that waits says for what."""
EXIT_NO_CITY = 2


def main(ctx: PartContext) -> None:
    """Show the overview on this machine's screen until asked to stop.

    Without a screen the part says so in one line and sleeps: the city needs no window, and a picture can be had at any
    time with ``gwanje hmi --screenshot``.
    """
    probe = WindowProbe()
    from gwanje.hmi.screen import application, attach_store, build_screen

    if trouble := probe.trouble():
        ctx.log.warning("%s: the screen is not shown; `gwanje hmi --screenshot FILE` paints it", trouble)
        _sleep(ctx)
        return
    app = application(offscreen=False)
    try:
        screen = build_screen(
            app, ctx.site, ctx.bus, lambda: attach_store(ctx.site, ctx.run_dir), ctx.clock, "overview", ctx.options.lang
        )
    except ConfigErrors as errors:
        raise PartError(str(errors.problems[0])) from None
    screen.clock.add("table", lambda _now: _look_after(ctx, screen))
    _show(screen, None)
    app.exec()
    screen.close()
    if not ctx.stopping():
        # The operator closed the window: that ends the window, not the part, which would only be started again.
        _sleep(ctx)


def _sleep(ctx: PartContext) -> None:
    """Stay alive without a window."""
    while not ctx.stopping():
        ctx.heartbeat()
        ctx.clock.wait_until_mono_ns(ctx.clock.mono_ns() + NS_PER_S // 2, ctx.stop_fd)


def _look_after(ctx: PartContext, screen: Screen) -> None:
    """Tell that the screen lives. One without its threads only looks alive: without a beat it is started anew."""
    if screen.alive:
        ctx.heartbeat()
    if ctx.stopping():
        screen.application.quit()


def _show(screen: Screen, size: tuple[int, int] | None) -> None:
    """Open the window, full screen unless a size is given, and begin."""
    if size is None:
        screen.view.showFullScreen()
    else:
        screen.view.resize(*size)
        screen.view.show()
    screen.start()


def run_hmi(
    site: Site, run_dir: Path, display: str, size: tuple[int, int], lang: str, screenshot: Path | None
) -> int:
    """Show a display of a running city, or paint it into a file.

    Args:
        site: the running city's configuration.
        run_dir: its run directory.
        display: name of a file in the site's ``displays``, without ``.toml``.
        size: of the window or picture in pixels.
        lang: leading language, ``ko`` or ``en``.
        screenshot: PNG file to write; then the window is never shown and the program ends by itself.

    Returns:
        Exit code: 0 done, 1 the display or the file is wrong, 2 no running city.
    """
    probe = WindowProbe() if screenshot is None else None
    from gwanje.hmi.screen import application, attach_store, build_screen

    try:
        attach_store(site, run_dir)
    except StoreError:
        return _fail("no running city found; start one with `gwanje up`", EXIT_NO_CITY)
    if not (site.root / "displays" / f"{display}.toml").is_file():
        names = ", ".join(sorted(path.stem for path in (site.root / "displays").glob("*.toml")))
        return _fail(f"no display {display!r}; the site has {names}", 1)
    if probe is not None and (trouble := probe.trouble()):
        return _fail(f"{trouble}; `gwanje hmi --screenshot FILE` paints the screen without one", 1)
    app = application(offscreen=probe is None)
    clock = SystemClock()
    bus = Bus(run_dir, "hmi", clock, site.tags.n, (*site.parts, "supervisor"))
    try:
        screen = build_screen(app, site, bus, lambda: attach_store(site, run_dir), clock, display, lang)
    except ConfigErrors as errors:
        return _fail("\n".join(str(one) for one in errors.problems), 1)
    _show(screen, size)
    if screenshot is not None:
        _quit_when_filled(screen, clock)
    app.exec()
    code = 0 if screenshot is None else _write(screen, screenshot)
    screen.close()
    bus.close()
    return code


def _quit_when_filled(screen: Screen, clock: Clock) -> None:
    """End the event loop once every main value has arrived and the moving pictures have filled a little.

    What is waited for is said once a second on stderr: a picture takes seconds, and silence looks like a fault.
    """
    started = clock.mono_ns()
    complete_since: list[int] = []
    told: list[int] = [started - TELL_NS]

    def look(now_mono_ns: int) -> None:
        if screen.view.complete() and not complete_since:
            complete_since.append(now_mono_ns)
            _say(f"every value is there; trends and spectrogram fill for {SETTLE_NS / NS_PER_S:g} s")
        if not complete_since and now_mono_ns - told[-1] >= TELL_NS:
            told.append(now_mono_ns)
            n, n_all = len(_waiting(screen)), sum(len(one.shown) for one in screen.view.bindings())
            _say(f"waiting for {n} of {n_all} values of the running city")
        begin, wait_ns = (complete_since[0], SETTLE_NS) if complete_since else (started, ARRIVE_WITHIN_NS)
        if now_mono_ns - begin >= wait_ns:
            screen.application.quit()

    screen.clock.add("table", look)


def _write(screen: Screen, path: Path) -> int:
    picture = screen.view.grab()
    if not picture.save(str(path), "PNG"):
        return _fail(f"{path} cannot be written", 1)
    for text in dict.fromkeys(_waiting(screen)):
        _fail(f"no value within {ARRIVE_WITHIN_NS // NS_PER_S} s: {text}", 0)
    sys.stdout.write(f"{path}: {picture.width()}x{picture.height()}\n")
    return 0


def _waiting(screen: Screen) -> list[str]:
    """Main values that have not arrived."""
    return [
        quantity.expression.text
        for bindings in screen.view.bindings()
        for quantity, shown in zip(bindings.quantities, bindings.shown, strict=True)
        if not shown.arrived
    ]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _fail(text: str, code: int) -> int:
    """Say what is wrong in one line; returns the code."""
    sys.stderr.write(f"gwanje: {text}\n")
    return code
