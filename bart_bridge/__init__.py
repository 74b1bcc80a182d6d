"""Everything that knows BART: its files, its command-line tools, its networks' weights. Nothing here imports Keras."""

from bart_bridge import former_names

__version__ = "0.2.0"

former_names.install()
