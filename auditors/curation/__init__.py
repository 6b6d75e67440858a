"""What people make of an audit: decisions on rows, clean and quarantined files, and files for other tools.

Imports explain, report and dataset.
"""
