"""Statistics as functions of tensors, and mergeable states (monoids) of them. Imports torch and nothing else."""
