"""Whatever people do in whatever order, with cores that die in between: an area never has two holders, a session that
is locked or over can do nothing, and no secret stands where it does not belong."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gwanje.core.authority.credentials import token_hash
from gwanje.core.authority.principal import Role
from gwanje.core.requests import RequestError

NAMES = ("kim", "choi", "park", "lee")
AREAS = ("jincheon", "eumseong", "microgrid")
POINTS = {"jincheon": "jincheon.ess1.x", "eumseong": "eumseong.ess2.x", "microgrid": "control.tie.x"}
S = 1_000_000_000
PLACES = st.integers(0, 11)


class ControlRoom(RuleBasedStateMachine):
    """People who sign in and out, take areas and hand them over, while time passes and cores are killed."""

    world_class = None
    folder_factory = None
    make_user = None

    @initialize()
    def begin(self):
        cls = type(self)
        self.world = cls.world_class(cls.folder_factory.mktemp("room"))
        roles = {"park": Role.SUPERVISOR, "lee": Role.VIEWER}
        self.world.users(*(cls.make_user(name, roles.get(name, Role.OPERATOR)) for name in NAMES))
        self.tokens = []

    def token(self, place):
        return self.tokens[place % len(self.tokens)] if self.tokens else ""

    def usable(self, token):
        """Whom the core takes a request of this session from now; nobody when it is locked or over."""
        dead = self.dead(token)
        try:
            who = self.world.authority.principal({"session": token})
        except RequestError:
            return None
        assert not dead, "a locked or ended session can do nothing"
        return who

    def dead(self, token):
        """Whether a session can do nothing, by the rules in plain numbers."""
        session = self.world.authority.sessions.by_hash(token_hash(token))
        if session is None:
            return True
        now = self.world.clock.mono_ns()
        idle, life = now - session.used_mono_ns >= 900 * S, now - session.since_mono_ns >= 43_200 * S
        return idle or life or session.locked_mono_ns > 0

    def ask(self, op, token, **message):
        """Ask something that changes an area; a session that cannot act has changed nothing."""
        before = self.world.ask("areas")["areas"]
        dead = self.dead(token)
        answer = self.world.ask(op, session=token, **message)
        if dead:
            assert answer["outcome"] == "refused"
            after = self.world.ask("areas")["areas"]
            assert [one["session_id"] for one in after] == [one["session_id"] for one in before]
        return answer

    @rule(name=st.sampled_from(NAMES), right=st.booleans())
    def sign_in(self, name, right):
        answer = self.world.sign_in(name, None if right else "x")
        if answer["outcome"] == "signed_in":
            assert right
            self.tokens.append(answer["session"])

    @rule(place=PLACES)
    def sign_out(self, place):
        self.world.ask("sign_out", session=self.token(place))

    @rule(place=PLACES)
    def lock(self, place):
        self.world.ask("lock", session=self.token(place))

    @rule(place=PLACES, name=st.sampled_from(NAMES))
    def unlock(self, place, name):
        token = self.token(place)
        session = self.world.authority.sessions.by_hash(token_hash(token))
        answer = self.world.ask("unlock", session=token, password=f"{name}'s password")
        assert answer["outcome"] == "refused" or session.user == name, "nobody else's password opens it"

    @rule(place=PLACES, area=st.sampled_from(AREAS), force=st.booleans())
    def take(self, place, area, force):
        answer = self.ask("take_area", self.token(place), area=area, reason="r", force=force)
        if answer["outcome"] == "area":
            assert answer["area"]["holder"] != "lee", "viewers hold nothing"

    @rule(place=PLACES, area=st.sampled_from(AREAS))
    def release(self, place, area):
        self.ask("release_area", self.token(place), area=area)

    @rule(place=PLACES, area=st.sampled_from(AREAS), to=st.sampled_from(NAMES))
    def hand_over(self, place, area, to):
        self.ask("hand_over", self.token(place), area=area, to=to)

    @rule(place=PLACES, area=st.sampled_from(AREAS))
    def accept(self, place, area):
        self.ask("accept_area", self.token(place), area=area)

    @rule(seconds=st.sampled_from([0.2, 30, 61, 299, 301, 899, 901, 43_201]))
    def time_passes(self, seconds):
        self.world.advance(seconds)

    @rule(seconds=st.sampled_from([0, 1, 400, 1_000]))
    def the_core_is_killed(self, seconds):
        self.world.clock.advance_ns(seconds * S)
        self.world.start()

    @rule(name=st.sampled_from(NAMES), disabled=st.booleans())
    def a_user_is_disabled_or_enabled(self, name, disabled):
        cls = type(self)
        role = {"park": Role.SUPERVISOR, "lee": Role.VIEWER}.get(name, Role.OPERATOR)
        self.world.change_user(cls.make_user(name, role, disabled=disabled))

    @rule()
    def the_wall_clock_steps(self):
        self.world.clock.step_utc_ns(-3600 * S)

    @invariant()
    def an_area_has_one_holder_or_none(self):
        world = self.world
        who = [one for token in self.tokens if (one := self.usable(token)) is not None]
        for area, point in POINTS.items():
            may = [one for one in who if world.authority.area_refusal(one, point) is None]
            assert len(may) <= 1, f"{area} answers to {may}"
            assert all(one.role is not Role.VIEWER for one in may)
        listed = {one["id"]: one["session_id"] for one in world.ask("areas")["areas"]}
        sessions = {one["session_id"] for one in world.ask("sessions")["sessions"]}
        assert {one for one in listed.values() if one} <= sessions, "only sessions that exist hold areas"

    @invariant()
    def no_secret_stands_anywhere(self):
        everything = json.dumps([self.world.entries, self.world.state, self.world.announced])
        for token in self.tokens:
            assert token not in everything
        assert "'s password" not in everything


def test_random_people_in_a_control_room(tmp_path_factory, new_world, user):
    """Hypothesis prints the shortest sequence that breaks a promise."""
    members = {"world_class": new_world, "folder_factory": tmp_path_factory, "make_user": staticmethod(user)}
    machine = type("Room", (ControlRoom,), members)
    machine.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine.TestCase("runTest").runTest()


def test_the_property_would_be_seen_to_break(world):
    """The look that the property takes does see two holders: it is not true of itself."""
    kim, park = world.sign_in("kim"), world.sign_in("park")
    world.ask("take_area", session=kim["session"], area="jincheon", reason="")
    principals = [world.authority.principal({"session": one["session"]}) for one in (kim, park)]
    world.authority.area_refusal = lambda who, point: None
    may = [one for one in principals if world.authority.area_refusal(one, POINTS["jincheon"]) is None]
    assert len(may) == 2
