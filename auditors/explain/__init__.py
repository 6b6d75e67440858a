"""What is said of a finding: why, what its rows share, where they come from, and what could have been missed.

Each explainer makes a finding of a finding; `explainers` puts them in order. Imports decide, embedders, detectors,
image and text, and never what renders a report.
"""
