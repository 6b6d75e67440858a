"""What is suspicious about vectors and labels: one file for each detector.

A detector sees stats, types, settings, `sweeps` and its contract, and no other detector.
"""
