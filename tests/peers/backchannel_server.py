"""GStreamer's ONVIF back-channel server, for the system's Python: test tone in, bytes into a file of the test's own.

Usage: python3 backchannel_server.py FILE. Prints the port when it listens; ends with its input.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPOnvifServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPOnvifMediaFactory()
factory.set_launch(
    "( audiotestsrc is-live=true ! audioconvert ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay0 )"
)
factory.set_backchannel_launch(
    '( capsfilter caps="application/x-rtp, media=audio, payload=0, clock-rate=8000, encoding-name=PCMU"'
    " name=depay_backchannel ! rtppcmudepay"
    f" ! filesink location={sys.argv[1]} buffer-mode=unbuffered async=false sync=false )"
)
factory.set_media_gtype(GstRtspServer.RTSPOnvifMedia.__gtype__)
factory.set_shared(False)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
loop = GLib.MainLoop()
GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, lambda *_: loop.quit())
loop.run()
