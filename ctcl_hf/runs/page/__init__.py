"""report.html: what a run or a comparison has shown, on one page that needs nothing beside it and
no network.
"""
