"""Certificates: how far a small network strays from its original on new samples, at most."""

from prunella.certificate.build import certify
from prunella.certificate.digests import model_digest
from prunella.certificate.outcomes import OutcomeBounds, bounds_from_outcomes

__all__ = ["OutcomeBounds", "bounds_from_outcomes", "certify", "model_digest"]
