"""The review page: flagged rows, similar rows, and reviewers' decisions."""
