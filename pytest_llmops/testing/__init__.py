"""Checks for components that a project writes itself (embedder, retriever, judge), and the probe of a semantic cache.

::

    from pytest_llmops.testing import check_embedder, check_judge, check_retriever
    from pytest_llmops.testing.semantic_cache import cache_probe
"""

from pytest_llmops.testing.conformance import check_embedder, check_judge, check_retriever

__all__ = ["check_embedder", "check_judge", "check_retriever"]
