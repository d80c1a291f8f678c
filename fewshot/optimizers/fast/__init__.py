"""Derivatives written by hand, and sums put in an order that processors like.

Nothing here says what an optimizer computes: its own file does, in an `equation` of the simplest torch. A piece stays
here as long as a test says that it equals its equation, derivative included, and a measurement that it is faster
(`python -m benchmarks.speed cores`). On one AVX2 core, forward and backward, a step without a piece takes so many times
as long: with PGD 3.8 without anything for `simple`, 1.8 without `ScoresResponse`, 1.5 to 1.7 without
`RecurrentResponse`, 9.6 without `AffineInGradient`; a plain one 1.3 without `cell`, 1.3 without `read`, 1.1 without
`gates`, 1.3 without the layer norm of synthetic gradients.

Inside, tensors are [units, rows]: a unit's numbers lie side by side, so that what differs from unit to unit is a scalar
in the innermost loop, and the few units of a core are the short axis of every product.
"""
