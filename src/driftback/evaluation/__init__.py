"""How good is it: distances, likelihood and memorisation, each beside the value that real data have against real data.

No number stands alone: every metric comes with an interval and a floor.
"""
