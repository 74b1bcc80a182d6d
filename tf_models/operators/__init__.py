"""The SENSE normal operator A^H A and the solution of regularized equations with it."""
