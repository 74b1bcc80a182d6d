"""Run the same dataset through several engines, measure each in the same way, and lay the results side by side."""

import bart_bridge  # noqa: F401  it lets `pickle` find what earlier versions of this package had elsewhere
