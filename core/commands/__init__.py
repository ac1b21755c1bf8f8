"""Commands and leases: messages, the client, the one check, and the way to the owners."""
