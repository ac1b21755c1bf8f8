"""A camera of other people's make: GStreamer's RTSP server with tones in every codec. Runs under the system's Python.

Prints one line of JSON with its port when it listens. Arguments: ``none``, ``basic`` or ``digest``: how to log in.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BASIC, DIGEST = 1, 2
"""GstRTSPAuthMethod, whose names the bindings lack."""

TONE = ("audiotestsrc is-live=true wave=sine freq=1000 volume=0.5 samplesperbuffer={n} ! "
        "audio/x-raw,rate={rate},channels=1")  # fmt: skip
VIDEO = ("videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! x264enc tune=zerolatency "
         "speed-preset=ultrafast ! rtph264pay name=pay0 pt=102")  # fmt: skip
SOUNDS = {  # left to itself rtpg726pay packs as AAL2 does and says that it does not
    "pcmu": (8_000, 160, "audioconvert ! mulawenc ! rtppcmupay name={pay} pt=0"),
    "pcma": (8_000, 160, "audioconvert ! alawenc ! rtppcmapay name={pay} pt=8"),
    "l16": (16_000, 320, "audioconvert ! audio/x-raw,format=S16BE ! rtpL16pay name={pay} pt=97"),
    "l16stereo": (44_100, 441, "audioconvert ! audio/x-raw,format=S16BE,channels=2 ! rtpL16pay name={pay} pt=97"),
    "aac": (16_000, 1_024, "audioconvert ! avenc_aac ! rtpmp4gpay name={pay} pt=96"),
    "aac48": (48_000, 1_024, "audioconvert ! avenc_aac ! rtpmp4gpay name={pay} pt=96"),
    "opus": (48_000, 960, "audioconvert ! opusenc ! rtpopuspay name={pay} pt=98"),
    "g726": (8_000, 160, "audioconvert ! avenc_g726 bitrate=32000 ! rtpg726pay force-aal2=false name={pay} pt=99"),
}


def main() -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    mounts = server.get_mount_points()
    for name, (rate, n, tail) in SOUNDS.items():
        source = TONE.format(rate=rate, n=n)
        add(mounts, f"/{name}", f"( {source} ! {tail.format(pay='pay0')} )")
        add(mounts, f"/{name}-video", f"( {VIDEO}  {source} ! {tail.format(pay='pay1')} )")
    add(mounts, "/video", f"( {VIDEO} )")
    if sys.argv[1] != "none":
        lock(server, mounts, sys.argv[1])
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    GLib.MainLoop().run()


def add(mounts, path: str, launch: str) -> None:
    """A path of the server."""
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(launch)
    factory.set_shared(True)
    factory.set_latency(0)
    mounts.add_factory(path, factory)


def lock(server, mounts, way: str) -> None:
    """Demand user and password for everything."""
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "listener")
    if way == "basic":
        auth.set_supported_methods(BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("listener", "s3cret"), token)
    else:
        auth.set_supported_methods(DIGEST)
        auth.add_digest("listener", "s3cret", token)
    server.set_auth(auth)
    for name in SOUNDS:
        factory, _ = mounts.match(f"/{name}")
        permissions = GstRtspServer.RTSPPermissions.new()
        permissions.add_permission_for_role("listener", "media.factory.access", True)
        permissions.add_permission_for_role("listener", "media.factory.construct", True)
        factory.set_permissions(permissions)


main()
