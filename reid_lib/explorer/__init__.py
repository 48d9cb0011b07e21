"""Ranked galleries to browse at the end of notebook 06: HTML with the pictures in it, and menus."""

from reid_lib.explorer.widgets import controls, show

__all__ = ["controls", "show"]
