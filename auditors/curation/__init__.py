"""After an audit: review decisions on rows, export of clean and quarantined files, and files for other tools.

Imports explain, report and dataset.
"""
