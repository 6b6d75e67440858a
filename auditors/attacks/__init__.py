"""Published poisoning attacks, one file for each, as planted by tests, benchmarks and the drill.

An attack imports the contract and types, and no other attack.
"""
