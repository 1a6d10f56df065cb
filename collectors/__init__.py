"""What can be measured on a machine that serves language models, and what it means.

This package turns counters into intervals and intervals into labels. It imports
nothing of `exporters` or `dashboard`, and nothing in it may import textual.
"""
