"""One module per subject of `analyse.py`: from latents, features and images to numbers and a picture."""
