"""Optimizers as BART defines them, for Keras."""
