"""``streaming top``: the tasks of a server on a whole screen, as they are now."""
