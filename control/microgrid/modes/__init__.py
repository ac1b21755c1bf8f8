"""The modes of a microgrid (IEEE 2030.7) as one explicit state machine."""
