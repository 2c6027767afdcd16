"""Typed, JAX-free configurations, and the names of experiments that stand for them.

A family is one folder and one line in `families`, its value a `family.Family`. `resolve` goes from the flags of a
training (`flags`) to its recipe, `overrides` sets any field of one, `serialization` writes and reads recipes. Only
`modules`, here and in the folders, imports JAX. `python -m laminate.recipes explain NAME` prints what a name means.
"""
