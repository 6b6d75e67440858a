"""From the p-values of all runs to suspicious groups, flagged rows and a verdict.

Knows neither detectors nor embedders: the properties of them that a decision depends on are passed in. Imports stats,
dataset, types and settings.
"""
