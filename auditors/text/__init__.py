"""Texts as counts, sketches and styles, and near copies among them; `triggers` looks for phrases that decide something.

Imports stats, settings and dataset.
"""
