"""Forwarders from the archive to external databases."""
