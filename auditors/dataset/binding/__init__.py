"""What belongs to the bytes that a trainer reads: files that rows name, files beside the data, and when all is read."""
