"""What the tests of optimizer studies share."""

TINY = """
name: tiny
dataset:
  simulate: {size: 24, coil_count: 2, train: 6, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet: {kind: varnet, iterations: 1, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
training: {batch_size: 2, epochs: 3}
seeds: [0, 1, 2]
optimizers:
  adam: [{learning_rate: 0.01}]
  ipalm: [{learning_rate: 1.0}]
  admm: [{learning_rate: 0.1}]
"""
