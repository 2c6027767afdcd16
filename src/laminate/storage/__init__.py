"""Files that others wrote or that may not fit: what every reader and writer above goes through."""
