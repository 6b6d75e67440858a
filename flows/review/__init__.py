"""The review page: flagged rows, what is like them, and what a person decides about them."""
