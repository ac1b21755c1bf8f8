"""What can go wrong between a driver and its device, whatever the protocol; every text is one line."""

from __future__ import annotations


class LinkError(Exception):
    """The link failed; the text is one line."""


class ConnectError(LinkError):
    """No connection.

    Attributes:
        refused: the host answered, but nobody listens: a restart, likely short.
    """

    def __init__(self, text: str, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


class NoAnswerError(LinkError):
    """No answer within the timeout."""


class ConnectionLostError(LinkError):
    """The peer closed or reset the connection, or it was never open."""


class InvalidReplyError(LinkError):
    """Something answered that is no answer to the request; the connection was dropped."""


class WriteForbiddenError(Exception):
    """The site is read only: nothing is written to the field."""
