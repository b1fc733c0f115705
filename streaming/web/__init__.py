"""HTTP: the ASGI application on asgineer."""
