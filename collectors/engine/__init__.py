"""Serving engines: finding them, reading their metrics pages, and what each series means."""
