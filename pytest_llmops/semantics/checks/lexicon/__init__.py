"""Stems and opposites of English words."""
