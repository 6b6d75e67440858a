"""How rows become vectors: one file each."""
