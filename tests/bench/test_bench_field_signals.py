"""Signals and meters without sockets: one answer of a controller, one of a meter, and their places in the bench."""

import random

import pytest

from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.bench import PARTS
from gwanje.io.field.dlms import bench as meters_bench
from gwanje.io.field.dlms.profile import ProfileBook
from gwanje.io.field.dlms.server import Association, Device
from gwanje.io.field.dlms.session import Attribute, Counters, Keys, Session, quiet
from gwanje.io.field.ntcip import bench, snmp, usm
from gwanje.io.field.ntcip.phases import parse_matrix
from gwanje.io.field.ntcip.plan import make_groups
from gwanje.io.field.ntcip.talk import Answer, CommunityTalk, UserTalk
from gwanje.io.sim.city.signals_agent import Agent, Engine, Object

pytestmark = pytest.mark.bench
ENGINE = b"\x80\0\x04\xb6\x04bench"


def group():
    device = bench.devices_of("2c", [1])[0]
    tags = TagTable.build(Tag(one.tag, "", "signals", low=0, high=1 << 24) for one in device.points)
    return make_groups(device, tags, {"normal": 1.0}, parse_matrix(device.params), 0)[0]


def agent(question, engine=None):
    objects = [Object(oid, lambda: 2) for oid in question.oids]
    return Agent(objects, None if engine else "public", engine)


def exchange(talk, peer, question):
    heard = talk.hear(peer.answer(talk.ask(snmp.Kind.GET, question.varbinds, 1), 0.0), 1)
    while not isinstance(heard, Answer):
        heard = talk.hear(peer.answer(heard.data, 0.0), 1)
    return heard.pdu


def test_a_get_of_seven_objects_2c(benchmark):
    """Budget: both sides together 150 µs."""
    question = group().questions[0]
    talk, peer = CommunityTalk("public", random.Random(1)), agent(question)
    assert len(benchmark(exchange, talk, peer, question).varbinds) == 7


def test_a_get_of_seven_objects_3(benchmark):
    """Budget: both sides together 300 µs."""
    question = group().questions[0]
    user = usm.User("bench", b"a" * 32, b"b" * 32)
    talk = UserTalk(user, random.Random(1))
    peer = agent(question, Engine(ENGINE, {b"bench": user.at(ENGINE)}))
    assert len(benchmark(exchange, talk, peer, question).varbinds) == 7


def test_values_of_an_answer(benchmark):
    """Budget: 60 µs."""
    one = group()
    got = {oid: snmp.Varbind(oid, 2, 2) for oid in one.questions[0].oids}
    _, values, _ = benchmark(one.decode, got)
    assert values[0] == 2.0


def test_a_ciphered_read_of_a_meter(benchmark):
    """Budget: both sides together 600 µs."""
    quiet()
    keys = Keys("hls_gmac", encryption=bytes(16), authentication=bytes(range(16)))
    server = Association(Device(b"GWS12345", keys, lambda key, span: b"\x06\0\0\0\x07"))
    session = Session(keys, Counters())

    def run(steps):
        data = next(steps)
        while True:
            try:
                data = steps.send(server.answer(data))
            except StopIteration as stop:
                return stop.value

    run(session.associate())
    wanted = [Attribute(3, obis, 2) for obis, _ in meters_bench.REGISTERS.values()]
    assert benchmark(lambda: run(session.get(wanted))) == [7] * 5


def test_a_day_of_a_profile(benchmark):
    """Budget: 2 ms."""
    from zoneinfo import ZoneInfo

    from gwanje.io.field.dlms import cosem_time

    zone = ZoneInfo("Asia/Seoul")
    rows = [[cosem_time.encode((1_790_000_100 + n * 900) // 900 * 900 * 10**9, zone), 0, 5] for n in range(96)]
    taken = benchmark(lambda: ProfileBook(900.0, zone).take(rows, 2**62))
    assert len(taken.entries) == 96


def test_both_stand_in_the_bench():
    assert {"gwanje.io.field.ntcip.bench", "gwanje.io.field.dlms.bench"} <= set(PARTS)
    assert callable(bench.measure)
    assert callable(meters_bench.measure)
