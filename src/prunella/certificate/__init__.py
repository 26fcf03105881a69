"""Certificates: how far a small network strays from its original on new samples, at most."""

from prunella.certificate.build import certify
from prunella.certificate.outcomes import OutcomeBounds, bounds_from_outcomes
from prunella.core.digests import model_digest

__all__ = ["OutcomeBounds", "bounds_from_outcomes", "certify", "model_digest"]
