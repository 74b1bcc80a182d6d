"""Everything that knows BART: its files, its command-line tools, its networks' weights. Nothing here imports Keras."""

__version__ = "0.2.0"
