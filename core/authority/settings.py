"""The ``[authority]`` table of ``site.toml``: when screens lock, sessions end and areas become free."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.core.site.toml_reader import Reader


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """How long things last.

    Attributes:
        idle_lock_s: a session that nobody uses locks after this.
        session_s: a session ends after this, used or not.
        area_grace_s: a locked session keeps its areas for so long; then they are free.
        offer_s: an offered area may be accepted for so long.
    """

    idle_lock_s: float = 900.0
    session_s: float = 43_200.0
    area_grace_s: float = 300.0
    offer_s: float = 60.0


def read_settings(reader: Reader | None) -> AuthoritySettings:
    """From the table, or as they are without one; problems are noted at the reader."""
    if reader is None:
        return AuthoritySettings()
    usual = AuthoritySettings()
    settings = AuthoritySettings(
        idle_lock_s=reader.number("idle_lock_s", usual.idle_lock_s, 30.0, 86_400.0),
        session_s=reader.number("session_s", usual.session_s, 300.0, 86_400.0),
        area_grace_s=reader.number("area_grace_s", usual.area_grace_s, 0.0, 3_600.0),
        offer_s=reader.number("offer_s", usual.offer_s, 5.0, 600.0),
    )
    reader.finish()
    return settings
