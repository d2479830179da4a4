"""The verbs without screens: progress lines, lists, plain conversations."""
