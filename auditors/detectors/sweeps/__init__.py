"""Passes over the data that several detectors share. Imports stats, types and settings."""
