"""What a process used, and how good an image is."""
