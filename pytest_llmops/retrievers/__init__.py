"""Retrievers over corpora in memory and over stores."""
