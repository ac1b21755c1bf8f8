"""A small city for measurements: a site of its own, a core process, an owner process that takes commands, one operator.

Run directory and tag store lie in memory, as always; journal, alarms and users lie on a real disk. No device, no
simulator, no screen: what is measured is the core.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.authority import credentials
from gwanje.core.authority.passwords import hash_password
from gwanje.core.authority.principal import Role
from gwanje.core.authority.users import EVERY_AREA, User, UsersFile
from gwanje.core.bench import on_disk
from gwanje.core.benches.children import BenchError, Child, Door, die_with_maker, in_memory
from gwanje.core.bus.bus import Bus, RequestTimeoutError
from gwanje.core.city.part import RunOptions
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.main import STARTUP_GRACE_NS, STATUS_TAGS
from gwanje.core.site.config import Site, load_site
from gwanje.core.site.tag_files import SUFFIX_UNITS
from gwanje.core.tags.store import TagStore

OWNER = "control"
USER, PASSWORD = "bench", "nobody signs in with this but a measurement"
START_S = 30.0
STOP_S = 5.0
LIMIT = 100.0
"""Of the alarms that a town is made with."""

_HEAD = """
[site]
id = "bench"
name_ko = "측정"
name_en = "Bench"
connection_rating_w = 1000000
"""


def point_name(number: int) -> str:
    """A point that the operator commands."""
    return f"bench.unit{number:03d}.discharge_setpoint_w"


def _tag(name: str, owner: str, kind: str, unit: str = "W") -> str:
    return (
        f'[[tag]]\nname = "{name}"\nunit = "{unit}"\nowner = "{owner}"\nkind = "{kind}"\nlow = -1e9\nhigh = 1e9\n'
        'ko = "측정"\nen = "Bench"\n\n'
    )


def make_site(root: Path, n_points: int, measured: Sequence[str] = (), files: Sequence[tuple[str, str]] = ()) -> Site:
    """A site of commanded points, measured tags, and the core's own; ``files`` are (name, content) of further ones."""
    (root / "tags").mkdir(parents=True)
    (root / "site.toml").write_text(_HEAD, encoding="utf-8")
    tags = [_tag(point_name(number), OWNER, "setpoint") for number in range(n_points)]
    tags += [_tag(name, OWNER, "measurement") for name in measured]
    tags += [_tag(name, "core", "state", SUFFIX_UNITS.get(name.rpartition("_")[2], "")) for name in STATUS_TAGS]
    (root / "tags" / "bench.toml").write_text("".join(tags), encoding="utf-8")
    for name, content in files:
        (root / name).write_text(content, encoding="utf-8")
    return load_site(root)


def own(door: Door, root: Path, run_dir: Path) -> None:
    """Body of the owner: takes every command, and shows its value as the readback.

    It is asked ``("stop", None)`` to leave, or ``("write", (ids, values))`` to write measured values.
    """
    site, clock = load_site(root), SystemClock()
    store = TagStore.attach(run_dir / "tags", site.tags)
    writer = store.writer(OWNER)
    ids = site.tags.by_owner(OWNER)

    def put(some: np.ndarray, values: np.ndarray, age_ns: int = 0) -> None:
        utc_ns = np.full(len(some), clock.utc_ns(), np.int64)
        writer.write(some, values, np.zeros(len(some), np.uint16), utc_ns, clock.mono_ns() - age_ns)

    def obey(command: Command) -> None:
        put(np.array([site.tags.index(command.point)], np.int32), np.array([command.value]))

    put(ids, np.zeros(len(ids)), 2 * STARTUP_GRACE_NS)  # a core that joins a running city watches its alarms at once
    office = Office(
        OWNER, credentials.owner_secret(run_dir), site.tags, LeaseCoverage(run_dir, site.tags.n), clock, obey,
        read_only=False,
    )  # fmt: skip
    bus = Bus(run_dir, OWNER, clock, site.tags.n)
    server = bus.server(owner_service(OWNER))
    door.answer()
    while True:
        request = server.receive(5)
        if request is not None:
            request.reply(office.answer(request.message))
        if door.asked(0.0):
            what, content = door.question()
            if what == "stop":
                break
            put(*content)
            door.answer()
    bus.close()


@dataclass(slots=True)
class Town:
    """A running core with its owner, and an operator who has signed in.

    Attributes:
        site: its configuration.
        run_dir: of the run.
        state_dir: journal and alarms, on a disk.
        owner: process that takes the commands.
        bus: the operator's console.
        session: token of the operator.
    """

    site: Site
    run_dir: Path
    state_dir: Path
    owner: Child
    bus: Bus
    session: str

    def ask(self, service: str, message: dict[str, Any]) -> dict[str, Any]:
        """Ask the core with the operator's session."""
        return self.bus.request(service, {**message, "session": self.session})


def start(
    stack: ExitStack, n_points: int, measured: Sequence[str] = (), files: Sequence[tuple[str, str]] = ()
) -> Town:
    """A town that ends with the stack.

    Raises:
        BenchError: the core did not come up, or the operator was not let in.
    """
    memory, disk, clock = stack.enter_context(in_memory()), stack.enter_context(on_disk()), SystemClock()
    root, run_dir = memory / "site", memory / "run"
    site = make_site(root, n_points, measured, files)
    run_dir.mkdir(mode=0o700)
    credentials.write(run_dir, ("core", OWNER))
    options = RunOptions(data_dir=str(disk / site.id / "live"))
    options.state_dir.mkdir(parents=True)
    _add_user(options.security_dir, clock.utc_ns())
    TagStore.create(run_dir / "tags", site.tags)
    owner = stack.enter_context(Child(own, root, run_dir))
    stack.callback(owner.tell, ("stop", None))
    core = subprocess.Popen(
        [sys.executable, "-m", "gwanje.core.city.run_part", "core", "--site", str(root), "--run", str(run_dir),
         "--options", options.to_json()],
        stderr=subprocess.PIPE, preexec_fn=die_with_maker,
    )  # fmt: skip
    stack.callback(_stop, core)
    bus = Bus(run_dir, "hmi", clock, site.tags.n)
    stack.callback(bus.close)
    town = Town(site, run_dir, options.state_dir, owner, bus, "")
    _wait_for(core, bus, clock)
    answer = bus.request("session", {"op": "sign_in", "user": USER, "password": PASSWORD, "console": "bench"}, 10_000)
    if answer.get("outcome") != "signed_in":
        raise BenchError(f"the operator was not let in: {answer.get('text_en')}")
    town.session = str(answer["session"])
    return town


def _add_user(folder: Path, utc_ns: int) -> None:
    """A supervisor: points of no area are theirs."""
    user = User(
        USER, Role.SUPERVISOR, (EVERY_AREA,), "", hash_password(PASSWORD), utc_ns, False, utc_ns, utc_ns, "bench"
    )
    UsersFile(folder).change(lambda users: users.update({USER: user}))


def _wait_for(core: subprocess.Popen[bytes], bus: Bus, clock: SystemClock) -> None:
    end = clock.mono_ns() + round(START_S * NS_PER_S)
    while clock.mono_ns() < end:
        if core.poll() is not None:
            said = core.stderr.read().decode("utf-8", "replace") if core.stderr else ""
            raise BenchError(f"the core did not start: {said.strip().splitlines()[-1] if said.strip() else ''}")
        try:
            bus.request("session", {"op": "areas"}, 500)
        except RequestTimeoutError:
            continue
        return
    raise BenchError(f"the core does not answer within {START_S:g} s")


def _stop(core: subprocess.Popen[bytes]) -> None:
    core.terminate()
    try:
        core.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        core.kill()
        core.communicate()
