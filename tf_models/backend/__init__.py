"""What `keras.ops` lacks: devices, precision, complex arrays, control flow."""
