"""What is suspicious about the vectors and labels: one file each."""
