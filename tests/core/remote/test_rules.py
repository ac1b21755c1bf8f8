"""What passes the relay: only what is listed, and stamped by nobody else."""

from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.authority.principal import Role
from gwanje.core.remote.rules import OWN, READS, refused, stamped

KEYS = st.one_of(st.text(max_size=8), st.sampled_from(["remote_key", "remote_role", "remote_", "op", "session"]))


@given(st.dictionaries(KEYS, st.integers(), max_size=8))
def test_the_stamp_is_ours_alone(message):
    out = stamped(message, "phone", Role.VIEWER)
    assert {key: value for key, value in out.items() if key.startswith(OWN)} == {
        "remote_key": "phone", "remote_role": "viewer",
    }  # fmt: skip
    assert {key: value for key, value in out.items() if not key.startswith(OWN)} == {
        key: value for key, value in message.items() if not key.startswith(OWN)
    }


@given(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=12), st.lists(st.text(max_size=3))))
def test_what_is_not_listed_is_closed(service, op):
    for role in Role:
        if service not in READS:
            assert refused(service, op, role)
    for known, reads in READS.items():
        if not isinstance(op, str) or op not in reads:
            assert refused(known, op, Role.VIEWER)


def test_nothing_that_commands_is_a_read():
    for service, ops in {
        "command": ["select", "check", "execute", "second", "cancel", "write", "lease", "renew", "release", "give_back",
                    "gate", "place_tag", "remove_tag"],
        "alarms": ["ack", "ack_group", "reset", "shelve", "unshelve", "out_of_service", "return_to_service"],
        "session": ["take_area", "release_area", "hand_over", "accept_area"],
        "overrides": ["substitute", "block", "restore"],
        "sound": ["listen", "talk", "renew", "end"], "sound.media": ["pull"], "sound.cameras": ["say"],
    }.items():  # fmt: skip
        for op in ops:
            assert refused(service, op, Role.VIEWER)
            assert not refused(service, op, Role.OPERATOR)
