"""What can train and apply a network: a BART binary, or Keras on a backend."""
