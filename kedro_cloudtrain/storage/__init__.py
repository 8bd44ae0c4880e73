"""Where data lies, and by what it is known to be the same."""
