"""The commands, one file for related ones, found by a scan.

Imports at the top of a file delay every command, so each command imports what it needs when it is called.
"""
