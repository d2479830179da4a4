"""What loads models: torch lives here, textual never."""
