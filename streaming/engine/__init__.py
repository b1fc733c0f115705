"""Tasks in one process: runs them, stops them, and tells everyone. Knows no HTTP, no SQL, no broker."""
