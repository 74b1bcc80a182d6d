"""Run the same dataset through several engines, measure each in the same way, and lay the results side by side."""
