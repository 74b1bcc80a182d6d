"""What `keras.ops` lacks: derivatives, loops, precision, devices, complex arrays and projections."""
