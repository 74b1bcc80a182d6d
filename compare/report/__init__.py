"""Numbers with a format, pictures, the page."""
