"""What is explored: random lives of a task, of a crowd, of a store that outlives its processes, and of single parts."""
