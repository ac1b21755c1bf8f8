"""Commands on their way into a device, whatever it speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code


class CommandExpiredError(Exception):
    """The command's time was over before it reached the device; nothing of it was written."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command that its device shall carry out.

    Attributes:
        command: as the core sent it.
        tell: told once what became of it: outcome (``accepted`` when it was written, ``confirmed`` when the device was
            read and does what was asked although it shows another value, ``refused``, ``expired``, ``timed_out``), code
            of the reason, and detail.
    """

    command: Command
    tell: Callable[[str, Code, str], None]

    def report(self, outcome: str, detail: str, code: Code = Code.OWNER) -> None:
        """Tell what became of it."""
        self.tell(outcome, code, detail)
