"""Runs and searches as one HTML page: see page.py. Nothing else imports the charting library, Bokeh."""
