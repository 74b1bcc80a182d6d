"""Kernels with hand-written derivatives, in portable and in fast versions."""
