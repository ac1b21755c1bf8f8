"""Sessions and framings against answers that nobody should give."""

import asyncio
import random

import pytest
from dlms_cosem.hdlc import address, frames

from gwanje.io.field.dlms import axdr
from gwanje.io.field.dlms.framing import LLC_REPLY, LLC_REQUEST, Hdlc, Way, Wrapper
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.server import Association, Device
from gwanje.io.field.dlms.session import (
    ATTRIBUTES_MAX,
    BLOCKS_MAX,
    LONG_BYTES_MAX,
    AssociationError,
    Attribute,
    Counters,
    Keys,
    Refused,
    Session,
    quiet,
)
from gwanje.io.field.errors import ConnectionLostError, InvalidReplyError, LinkError, NoAnswerError

quiet()
KEYS = Keys("hls_gmac", encryption=bytes(range(16)), authentication=bytes(range(16, 32)))
LOAD = Attribute(3, "1.0.1.7.0.255", 2)
PROFILE = Attribute(7, "1.0.99.1.0.255", 2)
WAY = Way(1, 17)


def device(keys=KEYS, long=None):
    values = {(3, LOAD.obis, 2): axdr.number(axdr.UINT32, 4242), (7, PROFILE.obis, 2): long or axdr.many(1, [])}
    return Device(b"GWS12345", keys, lambda key, span: values.get(key))


def run(steps, server, change=lambda reply, n: reply):
    """Run an exchange against a server; ``change`` may spoil its answers."""
    data, n = next(steps), 0
    while True:
        n += 1
        try:
            data = steps.send(change(server.answer(data), n))
        except StopIteration as stop:
            return stop.value


def opened(keys=KEYS, **options):
    server = Association(device(keys, **options))
    session = Session(keys, Counters())
    run(session.associate(), server)
    return session, server


@pytest.mark.parametrize("keys", [Keys(), Keys("lls", password=b"secret"), KEYS])
def test_each_security_reads(keys):
    session, server = opened(keys)
    assert run(session.get([LOAD]), server) == [4242]
    nothing = Attribute(3, "9.9.9.9.9.255", 2)
    assert run(session.get([LOAD, nothing]), server) == [4242, Refused("object undefined", True)]
    assert run(session.get([nothing]), server)[0].missing


def test_keys_that_are_wrong():
    other = Keys("hls_gmac", encryption=bytes(16), authentication=KEYS.authentication)
    with pytest.raises(AssociationError, match="authentication failed"):
        run(Session(other, Counters()).associate(), Association(device()))
    meter = Association(device(Keys("lls", password=b"y")))
    with pytest.raises(AssociationError, match="authentication failed"):
        run(Session(Keys("lls", password=b"x"), Counters()).associate(), meter)
    with pytest.raises(AssociationError, match="authentication"):
        run(Session(Keys(), Counters()).associate(), Association(device()))


def test_a_meter_that_cannot_prove_its_key_is_not_believed():
    server = Association(device())

    def other_proof(reply, n):
        if n == 2:
            server.device.counter += 1
            plain = b"\xc7\x01\x40\x00\x01\x00" + axdr.octets(b"\x10" + bytes(4) + bytes(12))
            return server._cipher(plain)
        return reply

    with pytest.raises(AssociationError, match="could not prove"):
        run(Session(KEYS, Counters()).associate(), server, other_proof)


@pytest.mark.parametrize("keep", range(0, 21, 4))
def test_a_proof_that_ends_early_does_not_hang(keep):
    """The library's parser runs for ever on it; ours says so."""
    server = Association(device())

    def short_proof(reply, n):
        if n == 2:
            proof = axdr.many(axdr.STRUCTURE, [axdr.octets(b"\x10" + bytes(16))])[:keep]
            return server._cipher(b"\xc7\x01\x40\x00\x01\x00" + proof)
        return reply

    with pytest.raises(LinkError):
        run(Session(KEYS, Counters()).associate(), server, short_proof)


def test_a_list_of_four_thousand_million_nothings_is_refused():
    session, server = opened(Keys())
    huge = b"\xc4\x03\xc1\x02\x00\x01\x84\xff\xff\xff\xff"
    with pytest.raises(InvalidReplyError):
        run(session.get([LOAD, LOAD]), server, lambda reply, n: huge)


def test_a_replay_of_ours_is_refused_and_ours_never_goes_back():
    server, counters = Association(device()), Counters()
    session = Session(KEYS, counters)
    run(session.associate(), server)
    run(session.get([LOAD]), server)
    used = counters.client
    assert server.device.client_counter < used
    with pytest.raises(AssociationError):
        run(Session(KEYS, Counters()).associate(), server)
    run(Session(KEYS, counters).associate(), Association(server.device))
    assert counters.client > used


def test_a_replay_of_the_meters_is_refused():
    session, server = opened()
    server.replay = True
    with pytest.raises(InvalidReplyError, match="invocation counter"):
        run(session.get([LOAD]), server)


def test_an_open_answer_in_a_ciphered_association_is_refused():
    session, server = opened()
    with pytest.raises(InvalidReplyError, match="open answer"):
        run(session.get([LOAD]), server, lambda reply, n: b"\xc4\x01\xc1\x00" + axdr.number(axdr.UINT32, 1))


def test_every_changed_byte_of_a_ciphered_answer_is_noticed():
    for at in range(0, 60, 3):
        session, server = opened()

        def spoil(reply, n, at=at):
            index = at % len(reply)
            return reply[:index] + bytes((reply[index] ^ 1,)) + reply[index + 1 :]

        try:
            value = run(session.get([LOAD]), server, spoil)
        except LinkError:
            continue
        assert value == [4242], f"byte {at} changed the value"


def test_cut_answers_and_noise_are_errors_and_nothing_else():
    chance = random.Random(5)
    for keys in (Keys(), KEYS):
        refused = 0
        for trial in range(300):
            session, server = opened(keys)

            def spoil(reply, n, trial=trial):
                if trial % 2:
                    return reply[: chance.randrange(len(reply))] or b"\0"
                raw = bytearray(reply)
                for _ in range(3):
                    raw[chance.randrange(len(raw))] = chance.randrange(256)
                return bytes(raw)

            try:
                values = run(session.get([LOAD, LOAD]), server, spoil)
            except LinkError:
                refused += 1
            else:
                assert keys is not KEYS or values == [4242, 4242], "what is ciphered is right or refused"
        assert refused > 200


def test_another_invoke_id_is_another_requests_answer():
    session, server = opened(Keys())
    with pytest.raises(InvalidReplyError, match="another request"):
        run(session.get([LOAD]), server, lambda reply, n: reply[:2] + bytes((reply[2] ^ 1,)) + reply[3:])


def long_value(n=200):
    return axdr.many(1, [axdr.octets(bytes(20)) for _ in range(n)])


def test_blocks_are_put_together():
    session, server = opened(long=long_value())
    assert len(run(session.get_range(PROFILE, 0, 10**18), server)) == 200


@pytest.mark.parametrize("block", [2, 3])
def test_a_block_that_is_left_out_or_repeated_is_noticed(block):
    session, server = opened(Keys(), long=long_value())
    kept = []

    def skip(reply, n):
        kept.append(reply)
        if n == 3:
            return kept[1] if block == 2 else reply[:7] + b"\x09" + reply[8:]
        return reply

    with pytest.raises(InvalidReplyError, match="where 3 belongs"):
        run(session.get_range(PROFILE, 0, 10**18), server, skip)


def test_a_value_without_end_is_cut_off():
    session, _ = opened(Keys())
    steps = session.get([PROFILE])
    next(steps)
    body = bytes(60_000)

    def feed():
        for n in range(1, BLOCKS_MAX):
            head = b"\xc4\x02" + bytes((0xC0 | session._invoke,)) + b"\0" + n.to_bytes(4, "big") + b"\0"
            steps.send(head + axdr.length(len(body)) + body)

    with pytest.raises(InvalidReplyError, match=f"more than {LONG_BYTES_MAX}"):
        feed()


def test_a_session_can_only_read():
    public = {name for name in dir(Session) if not name.startswith("_")}
    assert public == {"associate", "get", "get_range", "release"}
    assert ATTRIBUTES_MAX * 10 + 3 + 17 < 128


# ---- framings


def test_wrapped_byte_by_byte_and_two_at_once():
    framing = Wrapper()
    framing.wrap(WAY, b"ask")
    reply = framing.wrap(Way(17, 1), b"answer")
    framing.wrap(WAY, b"ask")
    for byte in reply[:-1]:
        assert framing.take(bytes((byte,))) == (None, b"")
    assert framing.take(reply[-1:])[0] == b"answer"
    stranger = Wrapper().wrap(Way(99, 1), b"other")
    assert framing.take(stranger + reply)[0] == b"answer"
    assert framing.passed_over == 1


@pytest.mark.parametrize("noise", [b"HTTP/1.1", b"\0\2\0\1\0\1\0\1", b"\0\1\0\1\0\1\0\0"])
def test_what_is_no_wrapper(noise):
    framing = Wrapper()
    framing.wrap(WAY, b"ask")
    with pytest.raises(InvalidReplyError, match="no wrapper"):
        framing.take(noise)


SERVER = address.HdlcAddress(17, address_type="server")
CLIENT = address.HdlcAddress(1, address_type="client")


class HdlcMeter:
    """An HDLC server that answers every APDU with one value, in segments."""

    def __init__(self, answer, spoil=lambda frame: frame):
        self.answer, self.spoil = answer, spoil
        self.sent = self.received = 0
        self.left = b""
        self.apdus = []

    def reply(self, data):
        control = data[5]
        if control == 0x93:  # SNRM
            return frames.UnNumberedAcknowledgmentFrame(CLIENT, SERVER).to_bytes()
        if control & 1 == 0:  # an information frame
            self.received = (self.received + 1) % 8
            self.apdus.append(bytes(data[8:-3]))
            self.left = LLC_REPLY + self.answer
        part, self.left = self.left[:100], self.left[100:]
        frame = frames.InformationFrame(
            CLIENT, SERVER, part, send_sequence_number=self.sent, receive_sequence_number=self.received,
            segmented=bool(self.left), final=True,
        )  # fmt: skip
        self.sent = (self.sent + 1) % 8
        return self.spoil(frame.to_bytes())


def hdlc(meter):
    framing = Hdlc()
    assert framing.take(meter.reply(framing.hello(WAY))) == (b"", b"")
    data = framing.wrap(WAY, b"\xc0\x01\xc1")
    while True:
        apdu, data = framing.take(meter.reply(data))
        if apdu is not None or not data:
            return apdu


def test_hdlc_segments_are_put_together():
    meter = HdlcMeter(bytes(range(256)) + b"\x7e" * 9)
    assert hdlc(meter) == bytes(range(256)) + b"\x7e" * 9
    assert meter.apdus == [LLC_REQUEST + b"\xc0\x01\xc1"]


def test_a_bad_check_sequence_gives_nothing():
    assert hdlc(HdlcMeter(b"\xc4\x01\xc1\x00\x06\0\0\0\1", lambda frame: frame[:-3] + b"\0\0" + frame[-1:])) is None
    for at in range(1, 15):
        spoilt = HdlcMeter(b"\xc4\x01\xc1\x00\x06\0\0\0\1", lambda f, at=at: f[:at] + bytes((f[at] ^ 8,)) + f[at + 1 :])
        try:
            assert hdlc(spoilt) is None
        except InvalidReplyError:
            continue


def test_hdlc_noise_without_end_is_given_up():
    framing = Hdlc()
    framing.hello(WAY)
    for _ in range(40):
        framing.take(bytes(100))
    with pytest.raises(InvalidReplyError, match="no HDLC frames"):
        framing.take(bytes(100))


def serve_and_run(handle, framing="wrapper", timeout_s=0.3):
    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        link = MeterLink("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s, framing)
        await link.open()

        def steps():
            return (yield b"\xc0\x01\xc1")

        try:
            return await link.run(WAY, steps()), link.is_open
        except LinkError as error:
            return error, link.is_open
        finally:
            link.close()
            server.close()

    return asyncio.run(main())


def test_bad_check_sequences_end_as_no_answer_and_the_line_is_made_anew():
    meter = HdlcMeter(b"\xc4", lambda frame: frame[:-3] + b"\0\0" + frame[-1:])

    async def handle(reader, writer):
        while data := await reader.read(1000):
            writer.write(meter.reply(data))

    error, is_open = serve_and_run(handle, "hdlc")
    assert isinstance(error, NoAnswerError)
    assert not is_open


def test_silence_garbage_and_a_closed_door():
    async def silent(reader, writer):
        await reader.read()

    async def garbage(reader, writer):
        await reader.read(10)
        writer.write(b"x" * 100_000)

    async def closes(reader, writer):
        await reader.read(10)
        writer.close()

    assert isinstance(serve_and_run(silent)[0], NoAnswerError)
    assert serve_and_run(silent)[1], "late answers will be passed over"
    assert isinstance(serve_and_run(garbage)[0], InvalidReplyError)
    assert isinstance(serve_and_run(closes)[0], ConnectionLostError)
