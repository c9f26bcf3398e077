"""Agents of frameworks with the tools of real MCP servers, on a scripted model.

A module for each client has ``PACKAGES``, whose versions go on the page, and ``run_agent``, which connects to a server, lets the model
call its tools and returns the model's last text. `project.py` has the tests that a child process runs them in.
"""
