"""A method, put together from the rooms: fit, sample, score, save and load.

"Show me DDPM" leads here; "what is a reverse-time SDE?" leads to a room.
"""
