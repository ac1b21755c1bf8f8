"""The planner: a day ahead in quarter hours, of power, heat and vehicles, as one sparse linear programme in money."""
