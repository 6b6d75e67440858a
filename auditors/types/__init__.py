"""Values that travel between the packages: frozen, small, and without behaviour of their own.

Digests and their recipes, datasets, findings and reports, runs, batches of tensors, table schemas.
Imports only errors and the registry.
"""
