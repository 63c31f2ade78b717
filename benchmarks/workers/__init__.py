"""One module per library: the same work, done the way that library's own documentation does it."""
