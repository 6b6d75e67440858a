"""A report as a page, as a table, as JSON."""
