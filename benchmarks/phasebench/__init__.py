"""Scores the labels against a step-exact simulation whose true phase shares are known."""
