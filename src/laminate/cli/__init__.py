"""Command lines, answered before JAX is imported: flags in, a recipe out, or one line on what is wrong."""
