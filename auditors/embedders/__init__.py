"""How rows become vectors: one file for each embedder, and the cache of their embeddings.

An embedder imports image, text, dataset, types and its contract, and no other embedder.
"""
