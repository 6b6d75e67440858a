"""report.html, a self-contained page, and the HTML of a notebook cell."""
