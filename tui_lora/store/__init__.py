"""Disk, processes and sensors, without torch and without textual."""
