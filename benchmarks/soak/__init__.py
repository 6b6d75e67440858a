"""Random faults, round after round, and the question what was lost: python -m benchmarks.soak."""
