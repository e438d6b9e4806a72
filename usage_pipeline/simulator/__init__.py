"""A synthetic organization that lives over virtual time, served by api/server.py."""
