"""Passwords: argon2id with the parameters of this program, and what a password must be.

The parameters follow OWASP's minimum for argon2id with a margin (46 MiB with one pass; ours makes two): about a tenth
of a second of one processor for every attempt, in a thread of its own, with one lane because the second processor of a
small machine belongs to the control loop. Only one password is hashed at a time: an attack costs 46 MiB, not more.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

MEMORY_KIB = 47_104
"""46 MiB: too much for many attempts side by side on a graphics card, little enough for a city's machine."""
PASSES = 2
LANES = 1
PASSWORD_MIN = 12
"""Letters. Length is what stands against guessing; there are no rules about digits and signs."""
PASSWORD_MAX = 256
"""Letters; more would only be work for the hash."""
REPEATED_MAX = 4
"""Different letters below which a password is a pattern, such as ``aaaaaaaaaaaa`` or ``121212121212``."""
OBVIOUS = (
    "password", "passw0rd", "gwanje", "관제", "administrator", "operator", "qwertyuiop", "1q2w3e4r", "chungbuk",
    "충북혁신도시", "letmein", "welcome", "changeme", "iloveyou", "12345678", "abcdefgh", "87654321",
)  # fmt: skip
"""A password that is one of these with a few letters around it is the first that anybody tries."""
AROUND_MAX = 6
"""Letters around an obvious word that do not hide it: ``gwanje-2026!``."""

_HASHER = PasswordHasher(
    time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, hash_len=32, salt_len=16,
    type=RFC_9106_LOW_MEMORY.type,
)  # fmt: skip


def hash_password(password: str) -> str:
    """The encoded argon2id hash with a fresh salt; takes about a tenth of a second."""
    return _HASHER.hash(password)


def verify(encoded: str, password: str) -> bool:
    """Whether the password belongs to the hash; takes as long as :func:`hash_password`, right or wrong."""
    try:
        return _HASHER.verify(encoded, password)
    except (VerificationError, InvalidHashError):
        return False


def outdated(encoded: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    try:
        return _HASHER.check_needs_rehash(encoded)
    except InvalidHashError:
        return True


def password_problem(password: str, name: str, full_name: str = "") -> str:
    """Why a password is not taken, as one line; empty when it is."""
    bare = password.casefold().strip()
    if len(password) < PASSWORD_MIN:
        return f"the password has {len(password)} letters, at least {PASSWORD_MIN} are needed"
    if len(password) > PASSWORD_MAX:
        return f"the password has more than {PASSWORD_MAX} letters"
    if not password.isprintable():
        return "the password holds letters that cannot be typed on every keyboard"
    if len(set(bare)) < REPEATED_MAX + 1:
        return "the password repeats a few letters"
    own = {word.casefold() for word in (name, *full_name.split(), full_name.replace(" ", "")) if len(word) >= 2}
    for word in (*sorted(own), *OBVIOUS):
        if word in bare and len(bare.replace(word, "")) <= AROUND_MAX:
            whose = "the user's name" if word in own else "a word that everybody tries first"
            return f"the password is {whose} with a few letters around it"
    return ""
