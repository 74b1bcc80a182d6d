"""VarNet and MoDL as Keras 3 models that compute what BART's `reconet` computes.

Complex numbers are real arrays with a trailing axis of 2 (real, imaginary). Importing this package does not import
Keras; its modules do.
"""
