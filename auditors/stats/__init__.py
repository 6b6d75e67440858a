"""Statistics as functions of tensors, and states that merge. Imports torch and nothing else."""
