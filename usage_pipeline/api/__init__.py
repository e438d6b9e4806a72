"""The wire, both sides of one contract: the client that reads the API and the server that serves it."""
