"""Which units to keep, given how many: the methods and their registry."""

from prunella.select.methods import METHODS, Method, Selection, method, register_method

__all__ = ["METHODS", "Method", "Selection", "method", "register_method"]
