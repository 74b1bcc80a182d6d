"""Datasets of slices and what is computed from them: simulation, coils, patterns, trajectories."""
