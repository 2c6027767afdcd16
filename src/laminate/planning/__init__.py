"""What a training step will cost on accelerators that are not there, read from the program compiled for them."""
