"""A world for sessions and areas: the real authority on a virtual clock, with passwords that are checked at once."""

import json
from pathlib import Path

import pytest

from gwanje.core.authority import credentials
from gwanje.core.authority.areas import Area, AreaMap
from gwanje.core.authority.authority import Authority
from gwanje.core.authority.credentials import token_hash
from gwanje.core.authority.principal import Role
from gwanje.core.authority.service import SessionService
from gwanje.core.authority.settings import AuthoritySettings
from gwanje.core.authority.user_book import UserBook
from gwanje.core.authority.users import User, UsersFile
from gwanje.core.authority.verifier import Checked
from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.desk import JournalDesk

S = 1_000_000_000
PROGRAM = "program-secret"
AREAS = (
    Area("jincheon", "진천", "Jincheon", ("jincheon.*",)),
    Area("eumseong", "음성", "Eumseong", ("eumseong.*",)),
    Area("microgrid", "마이크로그리드", "Microgrid", ("control.*", "grid.*")),
)


def make_user(name, role=Role.OPERATOR, areas=("*",), **changes):
    members = {
        "name": name, "role": role, "areas": areas, "full_name": "", "password_hash": f"hash of {name}'s password",
        "password_utc_ns": 1, "disabled": False, "created_utc_ns": 1, "changed_utc_ns": 1, "changed_by": "root",
        **changes,
    }  # fmt: skip
    return User(**members)


class Passwords:
    """Looks at passwords when it is told to: right is what the hash says."""

    def __init__(self):
        self.waiting = []
        self.asked = []

    def submit(self, job, name, encoded, password):
        self.asked.append((name, encoded is not None))
        self.waiting.append(Checked(job, encoded is not None and encoded == f"hash of {password}"))

    def answers(self):
        found, self.waiting = self.waiting, []
        return found

    def fileno(self):
        return -1

    def close(self):
        pass


class World:
    """Users, sessions and areas; a core that can be killed and started again."""

    def __init__(self, folder: Path, settings: AuthoritySettings | None = None):
        self.folder = folder
        self.clock = VirtualClock(mono_ns=1_000 * S)
        self.settings = settings or AuthoritySettings()
        self.file = UsersFile(folder)
        self.entries = []
        self.announced = []
        self.state = None
        self.disk_full = False
        self.state_full = False
        self.tokens = {}
        self.start()

    # what the core sees as its journal and its outside
    def append(self, kind, **data):
        return self.append_all([(kind, data)])[0]

    def append_all(self, entries):
        if self.disk_full:
            raise JournalError(28, "journal cannot be written: No space left on device")
        self.entries += [(str(kind), json.loads(json.dumps(dict(data)))) for kind, data in entries]
        return [None] * len(entries)

    write_all = append_all
    due_mono_ns = None

    def step(self):
        """Nothing waits for a disk."""

    def save(self, state):
        if self.state_full:
            raise OSError(28, "No space left on device")
        self.state = json.dumps(state)

    def announce(self, class_name, source, text_ko, text_en):
        self.announced.append((class_name, source, text_ko, text_en))

    # what a test does
    def start(self):
        """Start a core; what an earlier one kept is taken up."""
        self.passwords = Passwords()
        self.desk = JournalDesk(self)
        self.authority = Authority(
            {token_hash(PROGRAM): "control"}, UserBook(self.folder), AreaMap(AREAS), self.settings, self.clock,
            self.desk, self, "boot",
        )  # fmt: skip
        self.service = SessionService(self.authority, self.passwords, self.clock, self.desk)
        self.authority.take_up(None if self.state is None else json.loads(self.state))

    def users(self, *users):
        """These users and no others; the core has seen them."""

        def how(known):
            known.clear()
            known.update({one.name: one for one in users})

        self.file.change(how)
        self.advance(1.0)

    def change_user(self, user):
        self.file.change(lambda known: known.update({user.name: user}))
        self.advance(1.0)

    def advance(self, seconds):
        self.clock.advance_ns(round(seconds * S))
        self.service.step()

    def ask(self, op, **message):
        replies = []
        self.service.handle({"op": op, **message}, replies.append)
        self.service.finished()
        assert len(replies) == 1, "one answer to one request"
        return replies[0]

    def sign_in(self, name, password=None, console="console 1", **more):
        """Sign in; the answer. The token is kept under its session's id."""
        password = f"{name}'s password" if password is None else password
        answer = self.ask("sign_in", user=name, password=password, console=console, **more)
        if answer["outcome"] == "signed_in":
            self.tokens[answer["session_id"]] = answer["session"]
        return answer

    def holder(self, area):
        return next(one for one in self.ask("areas")["areas"] if one["id"] == area)["session_id"]

    def kinds(self):
        return [kind for kind, _ in self.entries]

    def last(self, kind):
        return next(data for one, data in reversed(self.entries) if one == kind)


@pytest.fixture
def world(tmp_path):
    """A world with an operator kim, a supervisor park and a viewer lee."""
    world = World(tmp_path)
    world.users(make_user("kim"), make_user("park", Role.SUPERVISOR), make_user("lee", Role.VIEWER))
    return world


@pytest.fixture
def new_world():
    """The world's class, for tests that make their own."""
    return World


@pytest.fixture
def user():
    """Makes users."""
    return make_user


@pytest.fixture
def programs_only(tmp_path):
    """Makes an authority without people, that knows the credentials of a run directory."""

    def make(run_dir):
        return Authority(
            credentials.read_hashes(run_dir), UserBook(tmp_path / "security"), AreaMap(()), AuthoritySettings(),
            VirtualClock(), JournalDesk(None), None, "boot",
        )  # fmt: skip

    return make
