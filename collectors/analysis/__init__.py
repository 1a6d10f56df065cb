"""The arithmetic of ledgers, energy, roofline and resource mix: shared by the screens, the report and the fleet.

Pure functions over intervals and their labels. What they return adds up: the sum over any intervals,
in any order, is the figure for all of them together, so a day costs no more memory than a second.
What was not measured is missing (None), never 0, and says nothing about what was.
"""
