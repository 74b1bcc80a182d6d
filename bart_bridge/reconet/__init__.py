"""VarNet and MoDL as `bart reconet` defines them: settings, weights, command lines, histories."""
