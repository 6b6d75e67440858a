"""Attacks on pictures: one file for each, named as its paper names it."""
