"""What the points look like: grids and plots of samples, as PNG or inside a report.

Nothing here computes; it draws what the other rooms made.
"""
