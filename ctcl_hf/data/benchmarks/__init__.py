"""The benchmarks, a file each: where their files lie, their classes and colours, and how many
images they have.
"""
