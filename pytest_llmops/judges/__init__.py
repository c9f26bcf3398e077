"""Judges: objects that give a verdict on an answer."""
