"""The optimizer study."""
