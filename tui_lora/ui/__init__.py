"""The screens: textual lives here, torch never."""
