"""What an audit found, signed: keys, DSSE envelope, in-toto statement, and the log of what was signed."""
