"""What people and machines read of an audit: report.json and the sentences; `html` is the page, `formats` the rest.

Imports explain and types.
"""
