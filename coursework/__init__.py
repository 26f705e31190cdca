"""Assignments of the book, and the grader that calls a submission and never trusts it.

    python -m coursework --help

README.md says how an assignment is written and what happens to a submission.
"""
