"""Electricity meters by DLMS/COSEM: registers and load profiles, read only, over the TCP wrapper or HDLC in TCP.

Associations, ciphers and states are dlms-cosem's (:mod:`.session` is its one home). What it takes on faith is checked
here: invoke ids, block numbers, data that end early, answers that are open where they must be ciphered.
"""
