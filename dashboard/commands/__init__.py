"""One file a command: `arguments(parser)` declares its flags, `run(args)` does the work.

Modules here import at the top only what every command has loaded anyway; what is heavy (textual,
httpx, prometheus_client, sqlite3) is imported inside the functions that use it, so that headless
commands stay small and `live` draws before it loads the rest.
"""
