"""The parts of wrong_server.py: its faults, frames, commands and connections."""
