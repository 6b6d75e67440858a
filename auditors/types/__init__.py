"""Values that travel between the packages: frozen, small, and without behaviour of their own.

Holds digests and their recipes, what a dataset is, findings and reports, runs, batches of tensors, table schemas.
Imports errors and the registry.
"""
