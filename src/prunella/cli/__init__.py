"""The command line: options in, calls of the library, words and exit codes out; no logic."""
