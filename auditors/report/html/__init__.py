"""report.html: one page that needs nothing but itself, and the cell of a notebook."""
