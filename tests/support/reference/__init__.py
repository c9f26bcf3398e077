"""Generators of the pages in docs/reference: each page is written from the code that it documents."""
