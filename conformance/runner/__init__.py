"""The parts of run.py: vectors, patterns and replies, connections, and one vector on its way through its steps."""
