"""The network's state from what its meters say, and which of them are wrong."""
