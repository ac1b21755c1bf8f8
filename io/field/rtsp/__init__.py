"""RTSP and RTP, the client's side: cores without I/O, and one loop (``hub``) that listens to all cameras of a site."""
