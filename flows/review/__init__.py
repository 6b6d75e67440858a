"""The review page: flagged rows, and what a person decides about them."""
