"""Traffic signal controllers by NTCIP 1202 over SNMP: monitored; a request for priority or a pattern where allowed.

The SNMP here is our own, bytes to messages and back, because pysnmp 7.1 costs many times as much a request and cannot
be shown a duplicate, a late or a forged reply in a test; it is held to pysnmp and to net-snmp in both directions by the
tests, and measured beside both by :mod:`gwanje.io.field.ntcip.bench`. Ciphers and hashes are the library's.
"""
