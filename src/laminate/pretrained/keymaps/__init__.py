"""Key maps: which published name holds which leaf of a module, and in which layout."""
