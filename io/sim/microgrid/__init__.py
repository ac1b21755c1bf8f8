"""The simulated microgrid: its description, its network, the weather and people that drive it, and the plant itself."""
