"""Published poisonings, one file each, for tests, benchmarks and the drill alike."""
