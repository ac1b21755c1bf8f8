"""Version 3, and what counts as an answer: keys, windows of time, forged, old, second and strange replies."""

import random

import pytest

from gwanje.io.field.ntcip import ber, snmp, talk, usm
from gwanje.io.field.ntcip.talk import Again, Answer, CommunityTalk, Nothing, Question, Refusal, UserTalk
from gwanje.io.sim.city.signals_agent import Agent, Engine, Object

NS = 1_000_000_000
ENGINE = bytes.fromhex("800004b60431323334")
USER = usm.User("centre", usm.master_key("sign-sign-1"), usm.master_key("cipher-cipher-2"))
ASK = Question.of((ber.oid("1.3.6.1.4.1.9.1.0"),))


def make_agent(boots=3, keys=None):
    engine = Engine(ENGINE, {b"centre": keys or USER.at(ENGINE)}, boots=boots)
    return Agent([Object(ASK.oids[0], lambda: 42)], None, engine)


def converse(one, agent, now_s=1000.0, ask=ASK):
    """Put a question until it is answered; the answer and how many datagrams it took."""
    data, n = one.ask(snmp.Kind.GET, ask.varbinds, round(now_s * NS)), 0
    while True:
        n += 1
        reply = agent.answer(data, now_s)
        heard = Nothing("the agent is silent") if reply is None else one.hear(reply, round(now_s * NS))
        if not isinstance(heard, Again):
            return heard, n
        data = heard.data


def test_keys_of_rfc_3414_with_sha_256():
    keys = usm.User("x", usm.master_key("maplesyrup"), usm.master_key("maplesyrup")).at(bytes(11) + b"\2")
    assert keys.sign.hex() == "8982e0e549e866db361a6b625d84cccc11162d453ee8ce3a6445c2d6776f0f8b"
    assert keys.cipher == keys.sign[:16]


def test_short_passphrases_are_refused():
    with pytest.raises(usm.SecurityError, match="8 characters"):
        usm.master_key("seven77")


def test_discovery_then_one_datagram_each():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    heard, n = converse(one, agent)
    assert isinstance(heard, Answer)
    assert heard.pdu.varbinds[0].value == 42
    assert n == 2
    assert converse(one, agent, 1001.0)[1] == 1
    assert one.engine_id == ENGINE


def test_a_reboot_is_followed():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    agent.engine.boots, agent.engine.started_s = 4, 1002.0
    heard, n = converse(one, agent, 1005.0)
    assert isinstance(heard, Answer)
    assert n == 2


def test_a_clock_that_runs_away_is_followed_forwards_and_back():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    for started_s in (-9000.0, 900.0):
        agent.engine.started_s = started_s
        heard, _ = converse(one, agent)
        assert isinstance(heard, Answer)


def test_old_answers_and_those_of_former_boots_are_no_answers():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    question = one.ask(snmp.Kind.GET, ASK.varbinds, 1000 * NS)
    old = agent.answer(question, 1000.0)
    assert one.hear(old, 1200 * NS) == Nothing("older than the window of time")
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    agent.engine.boots = 2
    keys = USER.at(ENGINE)
    pdu = snmp.encode_pdu(snmp.Kind.RESPONSE, one._id + 1, snmp.varbind_list([snmp.Varbind(ASK.oids[0], 2, 1)]))
    one.ask(snmp.Kind.GET, ASK.varbinds, 1000 * NS)
    forged = usm.encode(one._id, 3, ENGINE, 2, 1000, b"centre", usm.scoped_pdu(ENGINE, pdu), keys, b"12345678")
    assert isinstance(one.hear(forged, 1000 * NS), Nothing)


def test_wrong_keys_and_unknown_users_are_told():
    for keys, words in (
        (usm.Keys(b"x" * 32, USER.at(ENGINE).cipher), "key for signing"),
        (usm.Keys(USER.at(ENGINE).sign, b"y" * 16), "key for ciphering"),
    ):
        heard, _ = converse(UserTalk(USER, random.Random(1)), make_agent(keys=keys))
        assert isinstance(heard, Refusal)
        assert words in heard.reason
    agent = make_agent()
    agent.engine.users = {}
    assert converse(UserTalk(USER, random.Random(1)), agent)[0] == Refusal("the agent does not know this user")


def test_another_engine_is_discovered_anew():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    agent.engine.engine_id = other = ENGINE[:-1] + b"9"
    agent.engine.users = {b"centre": USER.at(other)}
    assert converse(one, agent)[0] == Refusal("another engine answers")
    assert isinstance(converse(one, agent)[0], Answer)
    assert one.engine_id == other


def test_any_changed_byte_of_an_answer_makes_it_none():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    reply = agent.answer(one.ask(snmp.Kind.GET, ASK.varbinds, 1000 * NS), 1000.0)
    for at in range(len(reply)):
        data = reply[:at] + bytes((reply[at] ^ 0x40,)) + reply[at + 1 :]
        assert isinstance(one.hear(data, 1000 * NS), Nothing), f"byte {at}"
        assert isinstance(one.hear(reply[:at], 1000 * NS), Nothing)
    assert isinstance(one.hear(reply, 1000 * NS), Answer)
    assert one.hear(reply, 1000 * NS) == Nothing("not to this question"), "the second copy"


def test_open_messages_are_never_believed():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    converse(one, agent)
    one.ask(snmp.Kind.GET, ASK.varbinds, 1000 * NS)
    pdu = snmp.encode_pdu(snmp.Kind.RESPONSE, one._id, snmp.varbind_list([snmp.Varbind(ASK.oids[0], 2, 66)]))
    scoped, keys = usm.scoped_pdu(ENGINE, pdu), USER.at(ENGINE)
    assert one.hear(usm.encode(one._id, 0, ENGINE, 3, 1000, b"centre", scoped), 1000 * NS) == Nothing("not signed")
    signed = usm.encode(one._id, 1, ENGINE, 3, 1000, b"centre", scoped, keys)
    assert one.hear(signed, 1000 * NS) == Nothing("signed, but not ciphered")
    late = snmp.encode_pdu(snmp.Kind.REPORT, 0, snmp.varbind_list([snmp.Varbind(talk.NOT_IN_WINDOW, 0x41, 1)]))
    report = usm.encode(one._id, 0, ENGINE, 9, 5, b"centre", usm.scoped_pdu(ENGINE, late))
    assert one.hear(report, 1000 * NS) == Nothing("an unsigned report about time")


def test_an_agent_that_never_has_the_right_time_is_given_up():
    one, agent = UserTalk(USER, random.Random(1)), make_agent()
    real = agent.answer

    def drifting(data, now_s):
        agent.engine.boots += 1
        return real(data, now_s)

    agent.answer = drifting
    heard, n = converse(one, agent)
    assert isinstance(heard, Refusal)
    assert n <= talk.AGAIN_MAX + 1


def reply_to(data, **changes):
    community, pdu = snmp.decode_v2c(data)
    varbinds = snmp.varbind_list([snmp.Varbind(pdu.varbinds[0].oid, ber.INTEGER, 1)])
    kind = changes.get("kind", snmp.Kind.RESPONSE)
    return snmp.encode_v2c(changes.get("community", community),
                           snmp.encode_pdu(kind, changes.get("request_id", pdu.request_id), varbinds))  # fmt: skip


def test_version_2c_takes_only_its_answer_and_only_once():
    one = CommunityTalk("public", random.Random(1))
    first = one.ask(snmp.Kind.GET, ASK.varbinds, 0)
    second = one.ask(snmp.Kind.GET, ASK.varbinds, 0)
    assert isinstance(one.hear(reply_to(first), 0), Nothing), "late, after the next question"
    assert isinstance(one.hear(reply_to(second, community=b"other"), 0), Nothing)
    assert isinstance(one.hear(reply_to(second, kind=snmp.Kind.GET), 0), Nothing)
    assert isinstance(one.hear(b"\x30\x00", 0), Nothing)
    assert isinstance(one.hear(reply_to(second), 0), Answer)
    assert isinstance(one.hear(reply_to(second), 0), Nothing), "the second copy"
