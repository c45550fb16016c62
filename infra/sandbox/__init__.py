"""Runs model-written Python: one clean, confined process for each program.

What it covers: a program cannot write files, read outside the Python installation, open sockets, start or
signal processes, use more memory, output or time than it is given, or leave anything behind for the next one.
What it does not cover: faults of the kernel, and timing channels between programs that run side by side.

This file imports nothing, because the zygote imports this package and its image should stay small.
"""
