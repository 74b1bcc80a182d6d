"""The SENSE operator and its inverse."""
