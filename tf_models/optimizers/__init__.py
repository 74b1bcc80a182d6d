"""Optimizers for Keras: SGD, Adam and iPALM as BART defines them, and ADMM."""
