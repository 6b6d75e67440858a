"""How rows become vectors: one file for each embedder, and the store of what they computed.

An embedder sees image, text, dataset, types and its contract, and no other embedder.
"""
