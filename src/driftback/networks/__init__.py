"""Backbones that know no diffusion: points, a number and a label go in, points of the same shape come out.

What the number means, and what the output means, is said in `driftback.scores`.
"""
