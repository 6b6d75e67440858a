"""Statistical tests for poison in vectors and labels: one file for each detector.

A detector imports stats, types, settings, `sweeps` and its contract, and no other detector.
"""
