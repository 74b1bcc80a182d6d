"""The first screen of a report: claims, images and small charts that answer the question of an experiment."""
