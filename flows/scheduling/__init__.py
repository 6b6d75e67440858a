"""Audits by the clock or when data changes: the deployment, what it remembers, and whom it tells."""
