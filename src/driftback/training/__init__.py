"""Learn once: the loop as a generator, the averaged weights, the losses at each noise level, and checkpoints.

A run that was killed continues from its last checkpoint to bit-identical weights.
"""
