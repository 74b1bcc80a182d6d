"""What a GPU does in a run: traces, the tables made of them, their consistency, and the roofline."""
