"""Those that are measured beside each other, one small server program each."""
