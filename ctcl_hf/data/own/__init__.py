"""Data of one's own: found on the Hub or in folders, and read as whatever their masks mean."""
