"""Suites of other tools, written as cases, prompts, judge files and one test module that a person goes on editing.

Readers (`promptfoo`) fill an `ImportedSuite`; `checks` puts its assertions into our words; one writer prints it. Readers read
data only: nothing of a suite is ever run, and no environment variable is looked at.
"""
