"""Agents of frameworks on scripted models: a module for each framework, with the same scenarios.

A module has ``PACKAGES``, whose versions go on the page, and ``SCENARIOS``: functions that run an agent and return the trajectory read from
its result.
"""
