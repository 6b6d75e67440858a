"""From p-values of many tests to groups that are accused, rows that are flagged, and a verdict.

Knows neither detectors nor embedders: what a decision needs of them is in the facts that it is given. Imports stats,
dataset, types and settings.
"""
