"""Training: the radius schedule, gate parameters and history, population statistics, freezing."""
