"""Logging in: the examples of the standards, the best of several ways, and challenges that make no sense."""

import hashlib
import re

import pytest

from gwanje.io.field.rtsp import auth


def token(n: int) -> bytes:
    return bytes(range(n))


def test_the_example_of_rfc_2069_and_2617():
    challenge = auth.choose([
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    ])  # fmt: skip
    fixed = bytes.fromhex("0a4f113b")
    said = auth.answer(challenge, "GET", "/dir/index.html", "Mufasa", "Circle Of Life", lambda n: fixed)
    assert 'cnonce="0a4f113b"' in said
    assert "nc=00000001" in said
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in said
    assert 'response="6629fae49393a05397450978507c4ef1"' in said, "RFC 2617 §3.5"


def test_without_qop_the_older_way_is_used():
    challenge = auth.choose(['Digest realm="cam", nonce="abc"'])
    said = auth.answer(challenge, "DESCRIBE", "rtsp://a/b", "u", "p", token)
    first = hashlib.md5(b"u:cam:p").hexdigest()
    second = hashlib.md5(b"DESCRIBE:rtsp://a/b").hexdigest()
    assert f'response="{hashlib.md5(f"{first}:abc:{second}".encode()).hexdigest()}"' in said
    assert "nc=" not in said


def test_the_best_way_is_taken_and_numbers_count():
    offers = ['Basic realm="cam"', 'Digest realm="cam", nonce="a"',
              'Digest realm="cam", nonce="b", algorithm=SHA-256, qop="auth"']  # fmt: skip
    challenge = auth.choose(offers)
    assert (challenge.algorithm, challenge.nonce) == ("SHA-256", "b")
    said = [auth.answer(challenge, "OPTIONS", "*", "u", "p", token) for _ in range(2)]
    assert "nc=00000001" in said[0]
    assert "nc=00000002" in said[1]
    assert "algorithm=SHA-256" in said[0]
    assert len(re.search('response="([0-9a-f]+)"', said[0])[1]) == 64
    assert auth.choose(offers[:2]).scheme == "digest"
    assert auth.answer(auth.choose(offers[:1]), "OPTIONS", "*", "u", "p", token) == "Basic dTpw"


@pytest.mark.parametrize(
    "header",
    ["", "Digest", 'Digest realm="a"', 'Digest nonce="a", algorithm=MD5-sess', "Bearer x", "NTLM", 'Digest ,,="', "\0"],
)
def test_ways_that_are_not_supported_are_none(header):
    assert auth.choose([header]) is None


def test_names_with_quotes_stay_inside_theirs():
    challenge = auth.choose(['Digest realm="a", nonce="n"'])
    said = auth.answer(challenge, "OPTIONS", "*", 'a"b\\c', "p", token)
    assert said.startswith(r'Digest username="a\"b\\c", realm="a"')


def test_a_stale_nonce_is_noted():
    assert auth.choose(['Digest realm="a", nonce="n", stale=TRUE']).stale
    assert not auth.choose(['Digest realm="a", nonce="n", stale="false"']).stale
