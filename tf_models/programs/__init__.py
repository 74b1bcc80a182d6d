"""Programs that are started as processes of their own."""
