"""Widgets: each draws what it is given, and repaints only when that changed."""
