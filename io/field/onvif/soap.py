"""SOAP 1.2 envelopes with a WS-Security UsernameToken, and what comes back in them. Pure.

Sources: W3C SOAP 1.2 part 1, OASIS WS-Security UsernameToken Profile 1.0 (digest = SHA-1 of nonce, time and password),
ONVIF Core Specification §5.12.
"""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.onvif.safe_xml import XmlError, parse, text

NS = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "s11": "http://schemas.xmlsoap.org/soap/envelope/",
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tr2": "http://www.onvif.org/ver20/media/wsdl",
    "tptz": "http://www.onvif.org/ver20/ptz/wsdl",
    "tev": "http://www.onvif.org/ver10/events/wsdl",
    "tt": "http://www.onvif.org/ver10/schema",
    "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "ter": "http://www.onvif.org/ver10/error",
}
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
DIGEST = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
NONCE_BYTES = 16
REASON_MAX = 120

_PREFIXES = " ".join(f'xmlns:{key}="{value}"' for key, value in NS.items() if key not in ("s", "s11"))


class FaultError(Exception):
    """The camera answered with a fault.

    Attributes:
        codes: of the fault and below it, without prefixes, such as ``("Sender", "NotAuthorized")``.
    """

    def __init__(self, codes: tuple[str, ...], reason: str) -> None:
        super().__init__(f"{codes[-1] if codes else 'fault'}: {reason}" if reason else "/".join(codes) or "fault")
        self.codes = codes

    @property
    def unauthorized(self) -> bool:
        """Whether user, password or clock do not agree."""
        return bool({"NotAuthorized", "FailedAuthentication", "InvalidSecurityToken"} & set(self.codes))

    @property
    def unsupported(self) -> bool:
        """Whether the camera does not know what it was asked."""
        return bool({"ActionNotSupported", "NotSupported", "NoPTZProfile", "UnknownAction"} & set(self.codes))


@dataclass(frozen=True, slots=True)
class Token:
    """What proves a request: user, password, time by the camera's clock, and a nonce."""

    user: str
    password: str
    created_utc_ns: int
    nonce: bytes

    @property
    def created(self) -> str:
        """The time as it stands in the header."""
        moment = datetime.fromtimestamp(self.created_utc_ns // NS_PER_S, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.created_utc_ns % NS_PER_S // 1_000_000:03d}Z"

    @property
    def digest(self) -> str:
        """Base 64 of SHA-1 over nonce, time and password."""
        whole = self.nonce + self.created.encode() + self.password.encode()
        return base64.b64encode(hashlib.sha1(whole, usedforsecurity=False).digest()).decode()


def envelope(body: str, token: Token | None = None, header: str = "") -> bytes:
    """A request.

    Args:
        body: XML with the prefixes of :data:`NS`.
        token: ``None`` for what cameras answer to anybody.
        header: further XML of the header.
    """
    security = ""
    if token is not None:
        security = (
            f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" s:mustUnderstand="1"><wsse:UsernameToken>'
            f"<wsse:Username>{escape(token.user)}</wsse:Username>"
            f'<wsse:Password Type="{DIGEST}">{token.digest}</wsse:Password>'
            f'<wsse:Nonce EncodingType="{BASE64}">{base64.b64encode(token.nonce).decode()}</wsse:Nonce>'
            f"<wsu:Created>{token.created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
        )
    head = f"<s:Header>{security}{header}</s:Header>" if security or header else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{NS["s"]}" {_PREFIXES}>'
        f"{head}<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def opened(data: bytes, wanted: str) -> ET.Element:
    """The answer in an envelope.

    Args:
        data: as it came.
        wanted: local name of the answer's element, such as ``GetStatusResponse``.

    Raises:
        XmlError: it is no such answer.
        FaultError: it is a fault.
    """
    root = parse(data)
    for space in (NS["s"], NS["s11"]):
        body = root.find(f"{{{space}}}Body")
        if root.tag == f"{{{space}}}Envelope" and body is not None:
            break
    else:
        raise XmlError("XML that is no SOAP envelope")
    first = next(iter(body), None)
    if first is None:
        raise XmlError("a SOAP envelope without content")
    local = first.tag.rpartition("}")[2]
    if local == "Fault":
        raise _fault(first)
    if local != wanted:
        raise XmlError(f"an answer {local[:40]} to something else, not {wanted}")
    return first


def _fault(fault: ET.Element) -> FaultError:
    codes: list[str] = []
    code = fault.find("s:Code", NS)
    while code is not None and len(codes) < 8:
        codes.append(text(code.find("s:Value", NS)).rpartition(":")[2])
        code = code.find("s:Subcode", NS)
    if not codes:
        codes = [text(fault.find("faultcode")).rpartition(":")[2]]
    reason = text(fault.find("s:Reason/s:Text", NS)) or text(fault.find("faultstring"))
    return FaultError(tuple(one for one in codes if one), " ".join(reason.split())[:REASON_MAX])


__all__ = ["NS", "FaultError", "Token", "XmlError", "envelope", "escape", "opened"]
