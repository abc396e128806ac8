"""The runner of the client cases: reading them, playing the server, and driving the client."""
