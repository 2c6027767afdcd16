"""FlatDINO: patch features of a frozen teacher to a few tokens and back, as a β-VAE and with FSQ."""
