"""What a camera sends, cut into replies, requests and packets: cut anywhere, garbage, lengths that lie, bounds."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gwanje.io.field.rtsp import wire
from gwanje.io.field.rtsp.wire import Ask, Broken, Reply, ReplyParser

STREAM = b"".join([
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n",
    b"$\x00\x00\x05hello",
    b"RTSP/1.0 200 OK\nCSeq: 2\nContent-Length: 11\n\nv=0\r\n$\x01\x00x\r\n",
    b"\r\n\r\n",
    b"$\x01\x00\x00",
    b"GET_PARAMETER rtsp://a/b RTSP/1.0\r\nCSeq: 9\r\n\r\n",
    b"RTSP/1.0 401 No\r\nCSeq: 3\r\nWWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Digest x\r\n\r\n",
    b"$\x00\x00\x02ab",
])  # fmt: skip


def test_a_stream_is_cut_into_its_items():
    items = ReplyParser().feed(STREAM)
    kinds = [type(one).__name__ for one in items]
    assert kinds == ["Reply", "tuple", "Reply", "tuple", "Ask", "Reply", "tuple"]
    assert items[1] == (0, b"hello")
    assert items[2].body == b"v=0\r\n$\x01\x00x\r\n"
    assert items[4].method == "GET_PARAMETER"
    assert items[5].headers.all("www-authenticate") == ['Basic realm="a"', "Digest x"]
    assert items[5].headers.get("nothing") == ""


def test_one_byte_at_a_time_gives_the_same():
    parser = ReplyParser()
    assert [item for byte in STREAM for item in parser.feed(bytes([byte]))] == ReplyParser().feed(STREAM)


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_cut_at_any_place_gives_the_same(at):
    parser = ReplyParser()
    assert parser.feed(STREAM[:at]) + parser.feed(STREAM[at:]) == ReplyParser().feed(STREAM)


PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", b"RTSP/1.0 200\n\n", b"RTSP/2.0 200 OK\r\n", b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n\r\n", b"Content-Length: 99999999999999\r\n\r\n", b"$\x00\xff\xff", b"$\x00\x00\x02ab",
        b"\r\n", b"A" * 9_000, b"X: " + b"z" * 4_000 + b"\r\n", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"$", b"RTSP",
        "RTSP/1.0 200 서버\r\n\r\n".encode(), b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * 70 + b"\r\n",
    ]),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES, max_size=10), cuts=st.lists(st.integers(1, 300), max_size=30))
def test_anything_cut_anyhow_gives_the_same_within_bounds_and_never_an_exception(pieces, cuts):
    data = b"".join(pieces)
    whole, cut = ReplyParser(), ReplyParser()
    expected = whole.feed(data)
    items, at = [], 0
    for size in [*cuts, len(data)]:
        items += cut.feed(data[at : at + size])
        at += size
        assert len(cut._buffer) <= wire.MAX_HEADER_BYTES + wire.MAX_BODY_BYTES + 65_540
    told = [one.reason if isinstance(one, Broken) else one for one in items]
    assert told == [one.reason if isinstance(one, Broken) else one for one in expected]
    if expected and isinstance(expected[-1], Broken):
        assert whole.failed
        assert whole.feed(STREAM) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x16\x03\x01\x02\x00", "neither RTSP nor a packet"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "neither"),
        (b"ABC\r\n\r\n", "neither RTSP nor a packet"),
        (b"ABC DEF\r\n\r\n", "neither a reply nor a request"),
        (b"RTSP/1.0 abc\r\n\r\n", "neither a reply nor a request"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: x\r\n\r\n", "a length that cannot be"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 40000\r\n\r\n", "a length that cannot be"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "a length that cannot be"),
        (b"RTSP/1.0 200 OK\r\nX: " + b"y" * 9_000, "a header of more than"),
        (b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * 70 + b"\r\n", "more than 64 headers"),
    ],
)
def test_what_cannot_be_understood_ends_everything(data, words):
    items = ReplyParser().feed(data + b"$\x00\x00\x01a")
    assert isinstance(items[-1], Broken)
    assert words in items[-1].reason


def test_a_megabyte_of_garbage_is_not_kept():
    parser = ReplyParser()
    assert isinstance(parser.feed(b"\xa5" * 1_000_000)[0], Broken)
    assert parser._buffer == b""


def test_a_header_that_never_ends_does_not_wait_for_ever():
    parser, sent = ReplyParser(), 0
    items = parser.feed(b"RTSP/1.0 200 OK\r\n")
    while not items:
        items = parser.feed(b"x" * 100)
        sent += 100
        assert sent < 2 * wire.MAX_HEADER_BYTES
    assert isinstance(items[0], Broken)


def test_sloppy_cameras_are_understood():
    items = ReplyParser().feed(b"RTSP/1.0  200  All right \r\ncseq:1\r\nno header\r\nDate : x\r\n\r\n")
    assert items == [Reply(200, "All right", items[0].headers)]
    assert items[0].headers.get("cseq") == "1"
    assert items[0].headers.get("date") == "x"
    assert isinstance(ReplyParser().feed(b"OPTIONS * RTSP/1.0\r\n\r\n")[0], Ask)
