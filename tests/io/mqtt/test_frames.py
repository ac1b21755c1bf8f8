"""MQTT packets: there and back, cut at every byte, and hostile."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.frames import Connect, Decoder, FrameError, Packet, Publish

TOPICS = st.text(st.characters(exclude_characters="+#\0", exclude_categories=("Cs",)), min_size=1, max_size=40)
MESSAGES = st.builds(
    Publish, TOPICS, st.binary(max_size=300), st.sampled_from([0, 1, 2]), st.booleans(), st.integers(1, 65_535),
    st.booleans(),
)  # fmt: skip


@given(MESSAGES)
def test_a_message_comes_back_as_it_went(message):
    (one,) = Decoder(1_000).feed(frames.publish(message))
    back = frames.read_publish(one.flags, one.body)
    assert back == replace(message, mid=message.mid if message.qos else 0)


@given(st.lists(MESSAGES, min_size=1, max_size=5), st.integers(1, 7))
def test_any_cut_of_the_stream_gives_the_same_packets(messages, step):
    data = b"".join(frames.publish(one) for one in messages)
    whole = Decoder(1_000).feed(data)
    decoder, found = Decoder(1_000), []
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    assert found == whole
    assert len(whole) == len(messages)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_packets_or_an_error(data):
    with contextlib.suppress(FrameError):
        for one in Decoder(1_000).feed(data):
            assert isinstance(one, Packet)
            for read in (frames.read_connect, frames.read_subscribe, frames.read_unsubscribe, frames.read_mid):
                with contextlib.suppress(FrameError):
                    read(one.body)


def test_connect_with_will_and_account():
    will = Publish("lamps/1/online", b"0", 1, True)
    hello = Connect("node-1", 60, True, will, "kim", b"secret")
    (one,) = Decoder(1_000).feed(frames.connect(hello))
    assert frames.read_connect(one.body) == hello


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00", b"\xf0\x00", b"\x82\xff\xff\xff\xff\x01", b"\x80\x02\x00\x01", b"\x30\x80\x80\x80\x7f",
    ],
)  # fmt: skip
def test_what_is_no_packet_ends_the_connection(data):
    with pytest.raises(FrameError):
        Decoder(1_000).feed(data)


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a", b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x01a",
        b"\x00\x04MQTT\x04\x03\x00\x3c\x00\x01a", b"\x00\x04MQTT\x04\x38\x00\x3c\x00\x01a",
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x05a", b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01aX",
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff",
    ],
)  # fmt: skip
def test_a_hello_that_is_none(body):
    with pytest.raises(FrameError):
        frames.read_connect(body)


@pytest.mark.parametrize(
    ("pattern", "topic", "hears"),
    [
        ("lamps/+/state", "lamps/7/state", True), ("lamps/+/state", "lamps/7/8/state", False),
        ("lamps/#", "lamps", True), ("lamps/#", "lamps/7/state", True), ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("a/+", "a", False), ("a/+", "a/", True),
        ("a/b", "a/b", True), ("a/b", "a/c", False), ("+/+", "/a", True),
    ],
)  # fmt: skip
def test_filters(pattern, topic, hears):
    assert frames.matches(pattern, topic) is hears


@pytest.mark.parametrize("pattern", ["", "a#", "#/a", "a/#/b", "a+/b", "x" * 1_025])
def test_what_is_no_filter(pattern):
    assert not frames.is_filter(pattern)
