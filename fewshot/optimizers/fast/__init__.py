"""Derivatives written by hand, and sums put in an order that processors like.

Nothing here says what an optimizer computes: its own file does, in an `equation` of the simplest torch. A piece stays
here as long as a test says that it equals its equation, derivative included, and `python -m benchmarks.speed cores`
that it is faster. Inside, tensors are [units, rows]: a unit's numbers lie side by side, so that what differs from unit
to unit is a scalar in the innermost loop, and the few units of a core are the short axis of every product.
"""
