"""Where a sound comes from: bearings of one node, a position over several, and which events are one happening."""
