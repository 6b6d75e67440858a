"""Attestations of audits: keys, in-toto statement, DSSE envelope, and the append-only log."""
