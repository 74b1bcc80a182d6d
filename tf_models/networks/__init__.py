"""VarNet and MoDL: layers, unrolled iterations, models."""
