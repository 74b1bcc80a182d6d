"""Files as BART has them: arrays, the order of their dimensions, and one atomic writer. Nothing about MRI."""
