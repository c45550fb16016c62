"""Decides whether a predicted answer equals the reference: first exactly and cheaply, then with math-verify.

A false positive puts a wrong trajectory into the training set, so every rule here prefers to say no.
"""
