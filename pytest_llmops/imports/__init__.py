"""Suites of other tools, written as cases, prompts, judge files and one test module that a person goes on editing.

Readers (`promptfoo`) fill an `ImportedSuite`; each assertion becomes a `Check`; one writer (`suite_files`) writes the files. Readers read
data only: nothing of a suite is ever run, and no environment variable is looked at.
"""
