"""Pictures as tensors: views, responses to random patches, and where in a picture a group is alike.

Imports stats, settings and the decoder of dataset.
"""
