"""The site's keys against the signatures of a journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from gwanje.core.journal.chain import Entry, Head, PublicKeys, signed_bytes


@dataclass(slots=True)
class Signatures:
    """What was signed, as far as a check has come.

    Attributes:
        keys: the site's public keys; ``None`` when it has none, and nothing can be checked.
        seen: whether there was any signature, checked or not.
        right: how many were checked and right.
        seq: last entry that one of them covers.
        utc_ns: when that was signed.
        used: keys in the order of their first signature.
    """

    keys: PublicKeys | None
    seen: bool = False
    right: int = 0
    seq: int = 0
    utc_ns: int = 0
    used: list[str] = field(default_factory=list)

    def entry(self, entry: Entry, previous: str) -> str:
        """What is wrong with an entry ``journal_signed``; empty for nothing.

        Args:
            entry: it.
            previous: hash of the entry before it, hex.
        """
        self.seen = True
        if self.keys is None:
            return ""
        told = entry.data
        try:
            seq, hash_hex, key = int(told["signed_seq"]), str(told["signed_hash"]), str(told["key"])
            utc_ns, signature = int(told["signed_utc_ns"]), bytes.fromhex(told["signature"])
        except (KeyError, TypeError, ValueError):
            return "a signature that cannot be read"
        if seq != entry.seq - 1 or hash_hex != previous:
            return "a signature over another chain"
        return self._check(signed_bytes(seq, hash_hex, utc_ns, key, False), key, signature, seq, utc_ns)

    def head(self, head: Head) -> str:
        """What is wrong with the head's signature; empty for nothing."""
        self.seen = self.seen or bool(head.key)
        if self.keys is None:
            return ""
        if not head.key:
            return "not signed, although the site has keys: replaced, or no core ran since `gwanje keys init`"
        try:
            signature = bytes.fromhex(head.signature)
        except ValueError:
            return "a signature that cannot be read"
        return self._check(head.signed_bytes(), head.key, signature, head.seq, head.utc_ns)

    def _check(self, data: bytes, key: str, signature: bytes, seq: int, utc_ns: int) -> str:
        assert self.keys is not None, "without keys nothing is checked"
        verifier = self.keys.public(key)
        if verifier is None:
            return f"signed with key {key or 'none'}, which the site never had"
        if not verifier.verify(data, signature):
            return f"the signature is not of key {key}: the chain up to here was rewritten"
        if key in self.used[:-1]:
            return f"signed with key {key}, which was replaced before"
        if self.used[-1:] != [key]:
            self.used.append(key)
        self.right, self.seq, self.utc_ns = self.right + 1, seq, utc_ns
        return ""
