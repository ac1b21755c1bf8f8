"""A city of a scenario's own: its site with the chosen families, its processes, and what the simulators are told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError, Subscriber
from gwanje.core.city.part import Heartbeat
from gwanje.core.city.run_dir import RunDirError, RunInfo, default_run_dir
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.scenario.operator import Operator, OperatorError, make_user
from gwanje.core.scenario.plan import Menu, Place
from gwanje.core.scenario.script import Outing, Timer
from gwanje.core.site.config import Site
from gwanje.core.tags.store import StoreError, TagStore

FAMILY_FOLDERS = ("devices", "alarms", "operations", "topology", "nodes")
"""Folders in which a family has a file of its own name."""
REQUEST_TIMEOUT_MS = 5_000
STOP_S = 20.0
"""Ctrl-C promises two seconds; a machine that runs tests beside may take longer."""
REVERT = re.compile(r"^revert_s = \d+(?:\.\d+)?", re.MULTILINE)
"""A command's time in a profile."""
COMM_MAX = 15
"""Letters of a process' name that Linux keeps."""


class CityError(Exception):
    """The city of a scenario cannot be started or asked; the text is one line."""


def families_of(site_root: Path) -> list[str]:
    """Families that a site has files of."""
    return sorted({path.stem for path in (site_root / "devices").glob("*.toml")})


def copy_site(site_root: Path, target: Path, families: Collection[str], timers: Sequence[Timer] = ()) -> Path:
    """A site with the chosen families only, below ``target/configs``.

    Args:
        site_root: the whole site.
        target: a folder of the scenario's own.
        families: stems of ``devices/*.toml``; empty for all.
        timers: written into the copy's profiles.

    Raises:
        CityError: a family or a profile with such a time is not there.
    """
    copy = target / "configs" / site_root.resolve().name
    shutil.copytree(site_root, copy)
    known = {path.stem for folder in FAMILY_FOLDERS for path in (copy / folder).glob("*.toml")}
    if unknown := sorted(set(families) - known):
        raise CityError(f"no family {unknown[0]!r} in {site_root}; there are {', '.join(sorted(known))}")
    if families:
        for folder in (*FAMILY_FOLDERS, "tags"):
            for path in (copy / folder).glob("*.toml"):
                if path.stem in known - set(families):
                    path.unlink()
    for timer in timers:
        _set_timer(copy / "profiles", timer)
    return copy


def _set_timer(profiles: Path, timer: Timer) -> None:
    """Write one time into the profiles that it is about."""
    n = 0
    for path in profiles.glob(f"{timer.profiles}.toml"):
        text, here = REVERT.subn(f"revert_s = {timer.revert_s:g}", path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        n += here
    if not n:
        raise CityError(f"no profile {timer.profiles!r} with a revert_s, whose time could be {timer.revert_s:g} s")


class City:
    """A city under ``gwanje up`` with its own run and data folders.

    Args:
        root: its site.
        folder: of the scenario's own, for data and messages.
        site: what stands there.
        seed: of the simulated city.
        clock: of the machine.
    """

    def __init__(self, root: Path, folder: Path, site: Site, seed: int, clock: Clock) -> None:
        self.site, self._clock = site, clock
        self.run_dir = default_run_dir(f"scenario-{os.getpid()}")
        self._said = folder / "up.txt"
        self._password = make_user(folder / "data" / site.id / "security", clock)
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "gwanje.core.cli.main", "up", str(root), "--run", str(self.run_dir),
                    "--data", str(folder / "data"), "--no-hmi", "--json", "--seed", str(seed),
                ],
                stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            )  # fmt: skip
        self._bus: Bus | None = None
        self._stopped: dict[str, int] = {}

    def attach(self, within_s: float) -> TagStore:
        """The running city's store.

        Raises:
            CityError: it does not run in time; with what it said.
        """
        deadline = self._clock.mono_ns() + round(within_s * NS_PER_S)
        while self._clock.mono_ns() < deadline:
            if self._process.poll() is not None:
                break
            try:
                RunInfo.read(self.run_dir)
                store = TagStore.attach(self.run_dir / "tags", self.site.tags)
            except (RunDirError, StoreError, OSError):
                self.wait(0.05)
                continue
            self._bus = Bus(self.run_dir, "cli", self._clock, self.site.tags.n)
            return store
        raise CityError(f"the city did not start: {self.said()}")

    def wait(self, for_s: float) -> None:
        """Let time pass."""
        self._clock.wait_until_mono_ns(self._clock.mono_ns() + round(for_s * NS_PER_S))

    def said(self) -> str:
        """The last line that the city wrote."""
        lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    # ------------------------------------------------------------ its simulators

    def ask(self, service: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a simulator.

        Raises:
            CityError: it refuses or does not answer.
        """
        assert self._bus is not None, "attach first"
        try:
            return self._bus.request(service, dict(message), REQUEST_TIMEOUT_MS)
        except (RequestRefusedError, RequestTimeoutError) as error:
            raise CityError(f"{service}: {error}") from None

    def hear(self, topics: Sequence[str], parts: Sequence[str]) -> Subscriber:
        """What parts publish from now on."""
        assert self._bus is not None, "attach first"
        return self._bus.subscriber(list(topics), list(parts))

    def menus(self, places: Mapping[str, Place]) -> list[Menu]:
        """What can be done wrong to the simulated devices.

        Raises:
            CityError: a simulator that the site needs does not answer.
        """
        found = []
        for part, service in (("sim", "sim"), ("simcity", "simcity"), ("simsound", "simsound")):
            if part not in self.site.parts:
                continue
            kinds: dict[str, list[str]] = self.ask(service, {"op": "kinds"})["kinds"]
            for device, names in kinds.items():
                driver = places[device].driver
                drivers = ("sunspec", "registers") if driver in ("sunspec", "registers") else (driver,)
                here = [one for one in drivers if any(place.driver == one for place in places.values())]
                found += [Menu(service, one, tuple(names)) for one in here]
        return found

    def set_fault(self, service: str, device: str, kind: str, params: Mapping[str, Any]) -> None:
        """Set a fault.

        Raises:
            CityError: it is refused.
        """
        name, _, how = kind.partition("/")
        if service == "simsound":
            self.ask(service, {"op": "fault", "node": device, "fault": name, **params})
            return
        variant = {"how": how} if how else {}
        self.ask(service, {"op": "fault", "device": device, "kind": name, **variant, **params})

    def clear_fault(self, service: str, device: str) -> None:
        """Take it away.

        Raises:
            CityError: it is refused.
        """
        if service == "simsound":
            self.ask(service, {"op": "fault", "node": device, "fault": "none"})
        else:
            self.ask(service, {"op": "clear", "device": device})

    def truth(self, service: str, device: str) -> Mapping[str, Any]:
        """What is true of a device, whatever it says.

        Raises:
            CityError: nobody knows.
        """
        if service == "sim":
            devices: Mapping[str, Mapping[str, Any]] = self.ask(service, {"op": "state"})["devices"]
            return devices[device]
        state: Mapping[str, Any] = self.ask(service, {"op": "state", "device": device})["state"]
        return state

    def operator(self) -> Operator:
        """Somebody who may command everything.

        Raises:
            CityError: he cannot sign in.
        """
        assert self._bus is not None, "attach first"
        try:
            return Operator(self._bus, self._password)
        except OperatorError as error:
            raise CityError(str(error)) from None

    # ------------------------------------------------------------ its parts

    def put_out(self, part: str, how: Outing) -> None:
        """Kill or stop a part, also one that the supervisor has started anew."""
        pid = Heartbeat(self.run_dir, part).pid()
        if not pid or self._stopped.get(part) == pid or not self._is_part(pid, part):
            return
        try:
            os.kill(pid, signal.SIGKILL if how is Outing.KILL else signal.SIGSTOP)
        except ProcessLookupError:
            return  # it is being started anew just now
        self._stopped[part] = pid

    def let_go(self, part: str) -> None:
        """Let a stopped part go on."""
        pid = self._stopped.pop(part, 0)
        if pid and self._is_part(pid, part):
            os.kill(pid, signal.SIGCONT)

    def _is_part(self, pid: int, part: str) -> bool:
        """Whether a process still is this part: ids are given out again."""
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            return False
        return name == f"gwanje-{part}"[:COMM_MAX]

    def close(self) -> None:
        """End it."""
        for part in list(self._stopped):
            self.let_go(part)
        if self._bus is not None:
            self._bus.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.run_dir, ignore_errors=True)


def own_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one run, removed with it."""
    return tempfile.TemporaryDirectory(prefix="gwanje-scenario-")


