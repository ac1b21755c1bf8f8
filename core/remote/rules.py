"""What may be asked from beyond the machine, by whom, and what is added to it.

Only what stands here passes: a service that somebody adds is closed to the outside until it is listed. A viewer's key
may read and have its user sign in; every other key may ask anything of these services, and the core decides by the
session, whose role the key caps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.authority.principal import Role

READS: Mapping[str, frozenset[str]] = {
    "session": frozenset({"sign_in", "sign_out", "lock", "unlock", "touch", "who", "sessions", "areas"}),
    "command": frozenset({"leases", "operations", "safety_tags"}),
    "alarms": frozenset({"list", "presented", "shelved", "kpis"}),
    "overrides": frozenset({"overrides"}),
    "tags": frozenset({"describe"}),
    "events": frozenset({"list"}),
    "snapshot": frozenset({""}),
    "history": frozenset({"series"}),
    "sound": frozenset({"sessions"}),
    "sound.media": frozenset(),
    "sound.cameras": frozenset(),
}
"""Service → what changes nothing but the asker's own session; ``""`` for a request without ``op``."""

OWN = "remote_"
"""Members that begin so are the relay's alone."""


def refused(service: str, op: object, role: Role) -> str:
    """Why a key of this role may not ask this; empty when it may."""
    reads = READS.get(service)
    if reads is None:
        return f"there is no service {service!r} beyond the machine"
    if role is Role.VIEWER and (not isinstance(op, str) or op not in reads):
        return f"a viewer's key may not ask {service!r} for {str(op)[:40]!r}"
    return ""


def stamped(message: Mapping[str, Any], key: str, role: Role) -> dict[str, Any]:
    """The request as the core gets it: who it came through is written by us, whatever it claimed itself."""
    own = {name: value for name, value in message.items() if not name.startswith(OWN)}
    return {**own, "remote_key": key, "remote_role": role.value}
