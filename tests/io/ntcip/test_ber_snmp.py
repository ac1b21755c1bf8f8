"""Bytes to messages and back: our own, held to pysnmp's, and against bytes that nobody should send."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from gwanje.io.field.ntcip import ber, snmp

OID = st.lists(st.integers(0, 0xFFFF_FFFF), min_size=1, max_size=20).map(lambda rest: ".".join(map(str, (1, 3, *rest))))
VARBIND = st.one_of(
    st.builds(lambda oid, value: snmp.Varbind(ber.oid(oid), ber.INTEGER, value), OID, st.integers(-(2**31), 2**31 - 1)),
    st.builds(lambda oid, value: snmp.Varbind(ber.oid(oid), snmp.COUNTER64, value), OID, st.integers(0, 2**64 - 1)),
    st.builds(lambda oid, value: snmp.Varbind(ber.oid(oid), snmp.TIME_TICKS, value), OID, st.integers(0, 2**32 - 1)),
    st.builds(lambda oid, value: snmp.Varbind(ber.oid(oid), ber.OCTETS, value), OID, st.binary(max_size=300)),
    st.builds(lambda oid, value: snmp.Varbind(ber.oid(oid), ber.OID, ber.oid(value)), OID, OID),
    st.builds(lambda oid, tag: snmp.Varbind(ber.oid(oid), tag), OID, st.sampled_from((ber.NULL, *snmp.MISSING))),
)
PDU = st.builds(
    snmp.Pdu, st.sampled_from(snmp.Kind), st.integers(-(2**31), 2**31 - 1), st.lists(VARBIND, max_size=12).map(tuple),
    st.integers(0, 18), st.integers(0, 12),
)  # fmt: skip


def message(pdu, community=b"public"):
    lists = snmp.varbind_list(pdu.varbinds)
    return snmp.encode_v2c(
        community, snmp.encode_pdu(pdu.kind, pdu.request_id, lists, pdu.error_status, pdu.error_index)
    )


@given(PDU, st.binary(max_size=200))
def test_what_is_written_is_read(pdu, community):
    assert snmp.decode_v2c(message(pdu, community)) == (community, pdu)


@given(OID)
def test_oids_there_and_back(text):
    assert ber.oid_text(ber.oid(text)) == text
    assert encoder.encode(rfc1902.ObjectName(text))[2:] == ber.oid(text) or len(ber.oid(text)) > 127


@pytest.mark.parametrize("text", ["", "1", "1.40", "3.1", "1.3.-1", "1.3.x", "1.3.4294967296", "1..3"])
def test_what_is_no_oid(text):
    with pytest.raises(ber.BerError):
        ber.oid(text)


def pysnmp_value(one):
    if one.tag in snmp.MISSING:
        return {snmp.NO_SUCH_OBJECT: rfc1905.NoSuchObject, snmp.NO_SUCH_INSTANCE: rfc1905.NoSuchInstance,
                snmp.END_OF_VIEW: rfc1905.EndOfMibView}[one.tag]("")  # fmt: skip
    return {
        ber.INTEGER: v2c.Integer32, snmp.COUNTER64: v2c.Counter64, snmp.TIME_TICKS: v2c.TimeTicks,
        ber.OCTETS: v2c.OctetString, ber.NULL: lambda _: v2c.Null(""),
        ber.OID: lambda value: v2c.ObjectIdentifier(ber.oid_text(value)),
    }[one.tag](one.value)  # fmt: skip


@given(PDU.filter(lambda pdu: pdu.kind is snmp.Kind.RESPONSE or pdu.kind is snmp.Kind.SET))
def test_pysnmp_writes_and_reads_the_same_bytes(pdu):
    theirs = v2c.ResponsePDU() if pdu.kind is snmp.Kind.RESPONSE else v2c.SetRequestPDU()
    v2c.apiPDU.set_defaults(theirs)
    v2c.apiPDU.set_request_id(theirs, pdu.request_id)
    v2c.apiPDU.set_error_status(theirs, pdu.error_status)
    v2c.apiPDU.set_error_index(theirs, pdu.error_index)
    v2c.apiPDU.set_varbinds(theirs, [(ber.oid_text(one.oid), pysnmp_value(one)) for one in pdu.varbinds])
    whole = v2c.Message()
    v2c.apiMessage.set_defaults(whole)
    v2c.apiMessage.set_community(whole, "public")
    v2c.apiMessage.set_pdu(whole, theirs)
    data = encoder.encode(whole)
    assert snmp.decode_v2c(data) == (b"public", pdu)
    if not any(isinstance(one.value, int) and one.value < 0 for one in pdu.varbinds) and pdu.request_id >= 0:
        assert data == message(pdu)  # pyasn1 writes -128 in two bytes
    read, rest = decoder.decode(message(pdu), asn1Spec=v2c.Message())
    assert not rest
    assert encoder.encode(read) == data


def test_cut_and_changed_bytes_are_refused_or_read_but_never_crash():
    chance = random.Random(7)
    pdu = snmp.Pdu(snmp.Kind.RESPONSE, 77, tuple(
        snmp.Varbind(ber.oid(f"1.3.6.1.4.1.1206.4.2.1.1.4.1.{n}.1"), ber.INTEGER, n) for n in range(2, 10)
    ))  # fmt: skip
    whole = message(pdu)
    for end in range(len(whole)):
        with pytest.raises(ber.BerError):
            snmp.decode_v2c(whole[:end])
    refused = 0
    for _ in range(20_000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            _, found = snmp.decode_v2c(bytes(data))
        except ber.BerError:
            refused += 1
        else:
            assert len(found.varbinds) <= 8
    assert refused > 2_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "nothing"),
        (b"\x30\x80\x00\x00", "bad length"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "bad length"),
        (b"\x30\x03\x02\x01\x01\x00", "bytes after the message"),
        (b"\x30\x02\x02\x00", "integer of 0 bytes"),
        (b"\x30\x03\x02\x01\x00", "version 0"),
        (b"\x02\x01\x01", "tag 0x02"),
    ],
)
def test_what_is_no_message_says_why(data, why):
    with pytest.raises(ber.BerError, match=why):
        snmp.decode_v2c(data)


def test_more_varbinds_than_anybody_needs():
    many = (snmp.Varbind(ber.oid("1.3.6"), ber.INTEGER, 1),) * (snmp.VARBINDS_MAX + 1)
    with pytest.raises(ber.BerError, match="more than 256"):
        snmp.decode_v2c(message(snmp.Pdu(snmp.Kind.RESPONSE, 1, many)))


def test_words_for_errors():
    assert snmp.error_name(5) == "genErr"
    assert snmp.error_name(1) == "tooBig"
    assert snmp.error_name(99) == "error 99"
