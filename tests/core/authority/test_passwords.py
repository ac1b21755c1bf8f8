"""Passwords: argon2id with our parameters, rules about the obvious, one path for right, wrong and unknown."""


import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.authority import verifier
from gwanje.core.authority.passwords import (
    LANES,
    MEMORY_KIB,
    OBVIOUS,
    PASSES,
    hash_password,
    outdated,
    password_problem,
    verify,
)
from gwanje.core.authority.users import UsersError
from gwanje.core.clock import readable

WAIT_S = 20.0


def test_a_hash_is_argon2id_with_our_parameters_and_a_salt_of_its_own():
    one, two = hash_password("correct horse"), hash_password("correct horse")
    assert one.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$")
    assert one != two
    assert verify(one, "correct horse")
    assert not verify(one, "correct horse ")
    assert not outdated(one)


@pytest.mark.parametrize("encoded", ["", "x", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", "$1$md5"])
def test_what_is_no_hash_opens_nothing(encoded):
    assert not verify(encoded, "")
    assert not verify(encoded, "x")


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "elevenlette", "aaaaaaaaaaaa", "121212121212", "kimyounghee1", "KimKimKimKim", "kim-kim-kim-2",
        "Password2026", "gwanje-2026!", "관제관제관제관제관제관제", "1q2w3e4r5t6y", "홍길동홍길동홍길동홍길동",
        "x" * 257, "abc\tdefghijkl", "correct\nhorse\nbattery",
    ],
)  # fmt: skip
def test_passwords_that_are_not_taken(password):
    assert password_problem(password, "kimyounghee", "홍길동 kim")


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "봄날의 새벽 안개 낀 호수", "Tr0ub4dor&3xyz", "kimchi on a cold morning", "q7#Lm2!vX9@p"],
)
def test_passwords_that_are_taken(password):
    assert password_problem(password, "kim", "홍길동") == ""


def test_every_obvious_word_is_refused_alone_and_dressed_up():
    for word in OBVIOUS:
        for dressed in (word.ljust(12, "1"), f"{word}{word}{word}", word.upper().ljust(12, "!")):
            assert password_problem(dressed, "kim") != "", dressed


@given(st.text(max_size=40), st.text(min_size=2, max_size=10), st.text(max_size=20))
def test_the_rules_never_break_and_always_say_one_line(password, name, full_name):
    problem = password_problem(password, name, full_name)
    assert "\n" not in problem
    assert len(password) >= 12 or problem


# ---------------------------------------------------------------- the thread


class Desk:
    """A verifier with what it stores, and how often a hash was looked at."""

    def __init__(self, monkeypatch, fails=False):
        self.stored = []
        self.looked = []

        def renew(name, old, fresh):
            if fails:
                raise UsersError("No space left on device")
            self.stored.append((name, old, fresh))

        def counted(encoded, password):
            self.looked.append(encoded)
            return verify(encoded, password)

        monkeypatch.setattr(verifier, "verify", counted)
        self.verifier = verifier.Verifier(renew, UsersError)

    def check(self, encoded, password):
        self.verifier.submit(7, "kim", encoded, password)
        assert readable(self.verifier.fileno(), WAIT_S)
        (answer,) = self.verifier.answers()
        assert answer.job == 7
        return answer


@pytest.fixture
def desk(monkeypatch):
    desk = Desk(monkeypatch)
    yield desk
    desk.verifier.close()


def test_an_unknown_user_costs_the_same_look_as_a_known_one(desk):
    encoded = hash_password("correct horse")
    assert desk.check(encoded, "correct horse").right
    assert not desk.check(encoded, "wrong horse").right
    assert not desk.check(None, "correct horse").right
    assert len(desk.looked) == 3
    kinds = [one.rsplit("$", 2)[0] for one in desk.looked]
    assert len(set(kinds)) == 1, "the same parameters, so the same work"


def test_a_hash_with_old_parameters_is_made_anew_at_the_sign_in(desk):
    old = PasswordHasher(time_cost=1, memory_cost=1_024, parallelism=1).hash("correct horse")
    assert not desk.check(old, "wrong horse").right
    assert desk.stored == [], "not by a wrong password"
    assert desk.check(old, "correct horse").right
    ((name, before, fresh),) = desk.stored
    assert (name, before, outdated(fresh), verify(fresh, "correct horse")) == ("kim", old, False, True)


def test_a_hash_that_cannot_be_stored_does_not_keep_its_user_out(monkeypatch):
    desk = Desk(monkeypatch, fails=True)
    old = PasswordHasher(time_cost=1, memory_cost=1_024, parallelism=1).hash("correct horse")
    answer = desk.check(old, "correct horse")
    assert (answer.right, answer.trouble) == (True, "No space left on device")
    desk.verifier.close()
