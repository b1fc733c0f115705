"""The description of the server as a page for people: HTML that is made here, and needs no script."""
