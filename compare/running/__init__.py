"""The steps of an experiment, their records and locks; here or on a cluster."""
