"""What the journal's entries tell of."""

from __future__ import annotations

from enum import StrEnum


class EntryKind(StrEnum):
    """What an entry tells of."""

    JOURNAL_OPENED = "journal_opened"
    JOURNAL_REPAIRED = "journal_repaired"
    JOURNAL_SET_ASIDE = "journal_set_aside"
    ENTRIES_LOST = "entries_lost"
    PART_STARTED = "part_started"
    PART_STOPPED = "part_stopped"
    COMMAND_REQUESTED = "command_requested"
    COMMAND_ACCEPTED = "command_accepted"
    COMMAND_CONFIRMED = "command_confirmed"
    COMMAND_REFUSED = "command_refused"
    COMMAND_EXPIRED = "command_expired"
    COMMAND_TIMED_OUT = "command_timed_out"
    COMMANDS_MUTED = "commands_muted"
    POINTS_GIVEN_BACK = "points_given_back"
    LEASE_GRANTED = "lease_granted"
    LEASE_REFUSED = "lease_refused"
    LEASE_NARROWED = "lease_narrowed"
    LEASE_RELEASED = "lease_released"
    LEASE_EXPIRED = "lease_expired"
    LEASE_RESTORED = "lease_restored"
    ALARM_CHANGED = "alarm_changed"
    ALARM_ACKNOWLEDGED = "alarm_acknowledged"
    ALARM_STORE_SET_ASIDE = "alarm_store_set_aside"
    GATE_CHANGED = "gate_changed"
