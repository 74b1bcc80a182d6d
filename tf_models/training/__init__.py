"""From slices to trained weights."""
