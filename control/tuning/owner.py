"""Which part has which parameters in force, and how it is asked to change them.

A part watches its own parameters: it swaps them between two of its periods, sees at once what comes of it, and when it
dies in the watch time its successor finds the set in its own book and rolls it back, whatever the other part does.
"""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.control.microgrid.settings import FILE as MICROGRID_FILE
from gwanje.control.microgrid.settings import Settings
from gwanje.control.tuning.guard import Limits, MicrogridLimits
from gwanje.control.tuning.registry import Config


@dataclass(frozen=True, slots=True)
class Owner:
    """A part with parameters.

    Attributes:
        part: its name.
        ko: for people.
        en: for people.
        service: takes drafts and tells of them.
        apply_point: a command of a number applies that set, 0 rolls back what is on watch.
        keep_point: the number of the set on watch keeps it.
        file: of the book, in the site's folder of data.
        site_file: over which the kept values lie.
        mark: before the number of a set, so that two books are told apart.
        limits: of its guard.
    """

    part: str
    ko: str
    en: str
    service: str
    apply_point: str
    keep_point: str
    file: str
    site_file: str
    mark: str
    limits: type[Limits] | type[MicrogridLimits]

    @property
    def points(self) -> tuple[str, str]:
        """That are commanded."""
        return self.apply_point, self.keep_point

    def label(self, number: int) -> str:
        """A set as people name it."""
        return f"{self.mark}{number}"


CONTROL = Owner(
    "control", "제어", "control", "tuning", "control.tuning.change_set", "control.tuning.kept", "tuning.json",
    "control.toml", "", Limits,
)  # fmt: skip
MICROGRID = Owner(
    "microgrid", "마이크로그리드 제어", "microgrid", "tuning_microgrid", "microgrid.tuning.change_set",
    "microgrid.tuning.kept", "tuning-microgrid.json", MICROGRID_FILE.as_posix(), "m", MicrogridLimits,
)  # fmt: skip
OWNERS = (CONTROL, MICROGRID)
FILE_BYTES_MAX = 262_144
"""Thirty-two sets of sixteen changes are some 100 kB."""


def owner_of(config: Config) -> Owner:
    """Whose parameters they are."""
    return MICROGRID if isinstance(config, Settings) else CONTROL
