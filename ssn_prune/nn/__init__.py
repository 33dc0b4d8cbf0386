"""Layers and their mathematics: gates, statistics, SSN, SwitchNorm, inference layers. No IO."""
