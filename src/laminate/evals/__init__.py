"""Measures of images: of one and its original, and of two sets of them."""
