"""Pictures as tensors: normalised views, random-patch features, and localisation of a group's common pattern.

Imports stats, settings and the picture decoder of dataset.
"""
