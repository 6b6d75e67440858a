"""What the columns of a dataset can hold by their type, what they hold, and which of them rows are about."""
