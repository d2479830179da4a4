"""Forms: where the user types; each hands on what was meant and says what was wrong."""
