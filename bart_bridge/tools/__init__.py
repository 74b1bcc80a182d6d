"""Child processes and the BART binary."""
