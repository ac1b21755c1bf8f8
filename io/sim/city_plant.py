"""What the simulator's shell, register images and control need of a plant: the simple one's and the microgrid's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gwanje.io.sim.twins import Breaker, Connection, Twin


class CityPlant(Protocol):
    """A simulated city, stepped as a whole.

    Attributes:
        world_s: second of the world since midnight of the first day; may be moved on.
    """

    world_s: float

    @property
    def speed(self) -> float:
        """Seconds of the world in a second of the electronics."""

    @property
    def steps(self) -> int:
        """How often it was advanced."""

    @property
    def twins(self) -> Mapping[str, Twin]:
        """Device → its twin."""

    @property
    def connection(self) -> Connection:
        """The connection to the utility."""

    @property
    def breaker(self) -> Breaker | None:
        """The breaker there."""

    @property
    def series_s(self) -> float:
        """Second of the PV series' day: 0 at 06:00, up to 86 400."""

    @property
    def local_s(self) -> float:
        """Seconds since local midnight."""

    @property
    def volts_pu(self) -> float:
        """Voltage in the city, over nominal."""

    @property
    def hertz(self) -> float:
        """Frequency in the city; 0 when it is dead."""

    def advance(self, dt_s: float) -> None:
        """One step."""

    def disturb(self, what: str, values: Mapping[str, float | str]) -> None:
        """Something happens now.

        Raises:
            ValueError: it does not know ``what``, or a value of it.
        """

    def truth(self) -> Mapping[str, float]:
        """What is really so beyond the twins."""

    def save(self) -> dict[str, Any]:
        """What must survive a kill, as plain numbers and words."""

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` gave.

        Raises:
            ValueError: it was saved by a city of other devices, or is damaged.
        """
