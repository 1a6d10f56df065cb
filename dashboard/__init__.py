"""Where people look and steer: the command line, the configuration and the terminal screens."""

__version__ = "0.1.0"
