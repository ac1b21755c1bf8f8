"""What the views show that is no tag: alarms, events, curves of the day. No Qt in here."""
