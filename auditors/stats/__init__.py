"""Ground floor: statistics as functions of tensors. Imports torch only."""
