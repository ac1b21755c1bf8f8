"""Reads a DLMS meter with gurux-dlms and prints what it says, as JSON. A program of its own: see test_dlms_gurux.py.

Arguments: port, logical device, mechanism (none, lls, hls_gmac), secret or keys as hexadecimal, counter.
"""

import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.objects import GXDLMSClock, GXDLMSData, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient

MECHANISMS = {"none": Authentication.NONE, "lls": Authentication.LOW, "hls_gmac": Authentication.HIGH_GMAC}


def exchange(door, client, data):
    """One request to its whole answer, blocks included."""
    reply = GXReplyData()
    while data:
        door.sendall(bytes(data))
        received = GXByteBuffer()
        while not client.getData(received, reply, None):
            chunk = door.recv(4096)
            if not chunk:
                raise ConnectionError("closed")
            received.set(chunk)
        data = client.receiverReady(reply) if reply.isMoreData() else None
    if reply.error:
        raise ValueError(f"error {reply.error}")
    return reply


def all_of(door, client, frames):
    reply = None
    for frame in frames:
        reply = exchange(door, client, frame)
    return reply


def main():
    port, device, mechanism, first, second, counter = sys.argv[1:7]
    client_address = 16 if mechanism == "none" else 1
    client = GXDLMSSecureClient(
        True, client_address, int(device), MECHANISMS[mechanism], bytes.fromhex(first) if mechanism == "lls" else None,
        InterfaceType.WRAPPER,
    )
    if mechanism == "hls_gmac":
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.systemTitle = b"GRX00001"
        client.ciphering.blockCipherKey = bytes.fromhex(first)
        client.ciphering.authenticationKey = bytes.fromhex(second)
        client.ciphering.invocationCounter = int(counter)
    found = {}
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as door:
        client.parseAareResponse(all_of(door, client, client.aarqRequest()).data)
        if mechanism == "hls_gmac":
            reply = all_of(door, client, client.getApplicationAssociationRequest())
            client.parseApplicationAssociationResponse(reply.data)
        for name, obis in (("load", "1.0.1.7.0.255"), ("energy", "1.0.1.8.0.255"), ("voltage", "1.0.32.7.0.255")):
            register = GXDLMSRegister(obis)
            for attribute in (3, 2):
                reply = all_of(door, client, client.read(register, attribute))
                client.updateValue(register, attribute, reply.value)
            found[name] = [float(register.value), int(register.unit)]
        named = GXDLMSData("0.0.42.0.0.255")
        found["name"] = bytes(all_of(door, client, client.read(named, 2)).value).decode()
        if mechanism == "none":
            found["counter"] = int(all_of(door, client, client.read(GXDLMSData("0.0.43.1.0.255"), 2)).value)
        clock = GXDLMSClock("0.0.1.0.0.255")
        client.updateValue(clock, 2, all_of(door, client, client.read(clock, 2)).value)
        found["clock_s"] = clock.time.value.timestamp()
        if mechanism != "none":
            profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
            rows = all_of(door, client, client.read(profile, 2)).value
            found["rows"] = [[bytes(row[0]).hex(), int(row[1]), int(row[2])] for row in rows]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
