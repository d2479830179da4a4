"""The screens, each a module and a .tcss beside it; `ui/keymap.py` lists those that exist."""
