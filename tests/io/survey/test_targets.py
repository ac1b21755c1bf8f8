"""Hosts, ports and unit ids as a person writes them; nothing beyond the local network is asked anything."""

import socket

import pytest

from gwanje.io.field.survey.targets import TargetError, local_address, parse_target, parse_units


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("127.0.0.1", "127.0.0.1", (502,)),
        ("127.0.0.1:1502", "127.0.0.1", (1502,)),
        ("127.0.0.1:15021-15023", "127.0.0.1", (15021, 15022, 15023)),
        ("[::1]:502", "::1", (502,)),
        ("[::1]", "::1", (502,)),
        ("localhost:7", "localhost", (7,)),
    ],
)
def test_a_host_with_its_ports(text, host, ports):
    target = parse_target(text, "1")
    assert (target.host, target.ports, target.units) == (host, ports, (1,))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no host"),
        (":502", "names no host"),
        ("127.0.0.1:0", "port '0' is not a whole number 1 … 65535"),
        ("127.0.0.1:70000", "port '70000' is not"),
        ("127.0.0.1:x", "port 'x' is not"),
        ("127.0.0.1:９", "port '９' is not"),
        ("127.0.0.1:9-5", "the last is below the first"),
        ("127.0.0.1:1-5000", "5000 ports, at most 1000"),
        ("::1", "write an IPv6 address in brackets"),
        ("[::1", "is not [ADDRESS]:PORT"),
        ("[::1]502", "is not [ADDRESS]:PORT"),
        ("8.8.8.8", "8.8.8.8 is 8.8.8.8: only loopback and local networks are scanned"),
        ("224.0.0.1", "only loopback and local networks"),
        ("0.0.0.0", "only loopback and local networks"),
    ],
)
def test_what_cannot_be_scanned_says_why(text, reason):
    with pytest.raises(TargetError) as caught:
        parse_target(text, "1")
    assert reason in str(caught.value)


def test_a_name_that_leads_to_the_public_network_is_refused(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in ("192.168.1.5", "93.184.216.34")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(TargetError, match=r"is 93\.184\.216\.34: only loopback"):
        local_address("printer")


def test_a_name_that_nobody_knows_says_so(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TargetError, match="host 'nobody' cannot be found: Name or service not known"):
        local_address("nobody")


@pytest.mark.parametrize(
    ("text", "units"), [("1", (1,)), ("1,2, 5-7", (1, 2, 5, 6, 7)), ("247,1,1", (247, 1)), ("0-2", (0, 1, 2))]
)
def test_unit_ids(text, units):
    assert parse_units(text) == units


@pytest.mark.parametrize("text", ["", "x", "256", "-1", "3-1", "1,,2", "1-200"])
def test_what_are_no_unit_ids(text):
    with pytest.raises(TargetError):
        parse_units(text)
