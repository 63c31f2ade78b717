"""Judged by what a network, or a person, looks at: pictures become rows of features, and these are compared."""
