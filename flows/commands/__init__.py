"""The commands, one file for what belongs together; a scan finds them.

What is imported at the top of one delays all of them, so each imports what it works with when it is called.
"""
