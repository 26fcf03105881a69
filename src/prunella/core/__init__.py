"""Types, errors and small tools that every other part shares; imports nothing else of prunella."""
