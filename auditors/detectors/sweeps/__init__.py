"""Parts of sweeps that several detectors are built from. Imports stats, types and settings."""
