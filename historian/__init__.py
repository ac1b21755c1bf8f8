"""Recorder, spool, archive, queries and sinks."""
