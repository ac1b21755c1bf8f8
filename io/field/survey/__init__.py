"""``gwanje scan``: which SunSpec and ONVIF devices answer at a host, and a draft of their configuration. Reads only."""
