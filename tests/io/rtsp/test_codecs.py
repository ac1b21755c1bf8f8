"""Coded sound: how AAC is packed, pieces and lies; decoders that never take the driver with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.io.field.rtsp.codecs import DecodeError, decoder
from gwanje.io.field.rtsp.sdp import Format
from gwanje.io.sim.sound_codecs import AAC_FRAME, Encoder, aac_config

MODE = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3", "config": aac_config()}
AAC = Format("AAC", 16_000, 1, "MPEG4-GENERIC", MODE)
OPUS = Format("OPUS", 48_000, 2, "OPUS")


def units(n: int) -> list[bytes]:
    """Access units of a tone, without their tables."""
    encoder = Encoder("AAC", AAC_FRAME)
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange((n + 1) * AAC_FRAME) / 16_000)).astype(np.int16)
    return [one[4:] for block in np.split(tone, n + 1) for one in encoder.encode(block)]


def packed(*several: bytes) -> bytes:
    """Several units in one packet, as RFC 3640 has it."""
    table = b"".join((len(one) << 3).to_bytes(2, "big") for one in several)
    return (16 * len(several)).to_bytes(2, "big") + table + b"".join(several)


def test_one_unit_or_several_in_a_packet_are_the_same_sound():
    found = units(12)
    one, other = decoder(AAC), decoder(AAC)
    single = [one.decode(packed(each), True) for each in found]
    several = [other.decode(packed(*found[at : at + 4]), True) for at in range(0, 12, 4)]
    np.testing.assert_array_equal(
        np.concatenate([samples for samples, _ in single]), np.concatenate([samples for samples, _ in several])
    )
    assert {ticks for _, ticks in single} == {1_024}
    assert {ticks for _, ticks in several} == {4_096}


def test_a_unit_in_pieces_is_put_together():
    found = units(6)
    whole, pieces = decoder(AAC), decoder(AAC)
    for one in found:
        table = b"\x00\x10" + (len(one) << 3).to_bytes(2, "big")
        first, _ = pieces.decode(table + one[:50], False)
        assert len(first) == 0
        np.testing.assert_array_equal(
            pieces.decode(table + one[50:], True)[0], whole.decode(packed(one), True)[0]
        )


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "without a table"), (b"\0", "without a table"), (b"\0\0abc", "without a table"),
        (b"\x00\x10", "without a table"), (b"\xff\xff" + b"a" * 20, "without a table"),
        (packed(b"abc", b"defg")[:-2], "reach beyond"), (packed(b"", b"abc"), "reach beyond"),
        (packed(*[b"a"] * 70), "more than 64 units"), (b"\x00\x10\x08\x00abc", "do not make a unit"),
    ],
)  # fmt: skip
def test_packets_that_lie_are_refused(payload, words):
    with pytest.raises(DecodeError, match=words):
        decoder(AAC).decode(payload, True)


def test_pieces_without_an_end_are_not_collected_for_ever():
    one = decoder(Format("AAC", 16_000, 1, "MPEG4-GENERIC", {**MODE, "sizelength": "16", "indexlength": "0"}))
    table = b"\x00\x10\xff\xff"
    for _ in range(8):
        assert len(one.decode(table + bytes(1_000), False)[0]) == 0
    with pytest.raises(DecodeError, match="do not make a unit"):
        one.decode(table + bytes(1_000), False)
    assert len(one._piece) == 0


@pytest.mark.parametrize(
    "params",
    [
        {}, {"config": "xyz"}, {"config": ""}, {"config": "1408", "sizelength": "0"},
        {"config": "1408", "sizelength": "x"},
        {"config": "1408", "sizelength": "99"}, {"config": "1408", "indexlength": "-3"}, {"config": "00" * 2_000},
    ],
)  # fmt: skip
def test_descriptions_that_make_no_sense_are_told(params):
    with pytest.raises(DecodeError):
        decoder(Format("AAC", 16_000, 1, "MPEG4-GENERIC", params)).decode(packed(units(1)[0]), True)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=120), st.booleans()), max_size=6), st.sampled_from([AAC, OPUS]))
def test_any_bytes_are_sound_or_refused(payloads, codec):
    one = decoder(codec)
    for payload, marker in payloads:
        try:
            samples, ticks = one.decode(payload, marker)
        except DecodeError:
            continue
        assert samples.dtype == np.int16
        assert ticks >= 0
        assert len(samples) <= 170_000


def test_opus_of_any_length_goes_on_by_its_own_clock():
    for packet, ms in ((640, 40), (320, 20)):
        encoder = Encoder("OPUS", packet)
        one = decoder(OPUS)
        payloads = [each for _ in range(20) for each in encoder.encode(np.zeros(packet, np.int16))]
        ticks = [one.decode(each, False)[1] for each in payloads]
        assert set(ticks) == {48 * ms}
