"""Typed, JAX-free configurations, and the names of experiments that stand for them.

`experiments` turns a name into a recipe; `vae_names` and `fsq_names` hold the grammars; `json_text` writes
and reads recipes; `costs` counts parameters and FLOPs; `flags` is the command line of a training; `build`
makes the modules and is the only part that imports JAX. `python -m laminate.recipes explain NAME` prints
what a name means.
"""
