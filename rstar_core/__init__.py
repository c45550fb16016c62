"""The algorithm of rStar-Math, pure: no input or output, no clock, no global randomness.

Everything here is a function of its arguments. What the search needs from the world (a model, an
interpreter, a grader) it asks for by yielding a request, and `infra` answers.
"""
