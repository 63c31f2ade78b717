"""Which way back: exact, recorded (as a cloud, or on a grid) and learned denoisers, alone or guided towards a class.

All owe one method, `denoised(x, t)` = E[x_0 | x_t]; score, noise and velocity follow from it.
"""
