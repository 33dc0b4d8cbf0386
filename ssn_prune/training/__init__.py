"""Training: radius schedule, gate parameters and history, population statistics, latency."""
