"""ONVIF cameras: pan, tilt, zoom, presets, events, and talk-back over the RTSP back channel.

SOAP is written here and not taken from zeep, which onvif-zeep-async builds on: it would bring lxml, httpx, requests and
two dozen packages more, parse 900 kB of WSDL at each start and build its messages slowly, for the fifteen operations
that are needed. zeep with the official WSDL files is the referee in ``tests/peers`` instead.
"""
