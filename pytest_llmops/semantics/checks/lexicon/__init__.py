"""Stems, synonyms and opposites of English words."""
