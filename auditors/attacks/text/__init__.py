"""Attacks on texts: one file for each, named as its paper names it."""
