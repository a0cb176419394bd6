"""Searches over configs with Optuna: spaces, studies, and the loop that runs the trials."""
