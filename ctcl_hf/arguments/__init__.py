"""The arguments of a run, each documented once, and the command line.

Imported without torch, but for `training`.
"""
