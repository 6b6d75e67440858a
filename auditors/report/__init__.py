"""The report of an audit: report.json and the sentences in it; `html` renders the page, `formats` everything else.

Imports explain and types.
"""
