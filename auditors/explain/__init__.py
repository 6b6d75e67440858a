"""Explanations of findings: the reason, what the rows share, where they come from, and the limits of detection.

Each explainer returns a finding with more evidence; `explainers` runs them in order. Imports decide, embedders,
detectors, image and text, and nothing that renders a report.
"""
