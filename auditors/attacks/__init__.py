"""Published poisonings, one file for each, that tests, benchmarks and the drill plant alike.

An attack sees types and its contract, and no other attack.
"""
