"""Texts: word n-grams, hashing, MinHash, style, near-duplicate clusters; `triggers` searches for trigger phrases.

Imports stats, settings and dataset.
"""
