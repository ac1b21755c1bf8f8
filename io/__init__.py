"""Everything that touches the field: drivers, the simulated city, interfaces for others."""
