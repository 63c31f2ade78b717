"""A density in, samples out: targets, methods by name, runs that can be resumed, and what is returned."""
