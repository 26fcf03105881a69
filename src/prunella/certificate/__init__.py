"""Certificates: how far a small network strays from its original on new samples, at most."""

from prunella.certificate.build import certify
from prunella.certificate.losses import Loss
from prunella.certificate.outcomes import OutcomeBounds, bounds_from_outcomes
from prunella.certificate.recording import check_top_k
from prunella.certificate.verify import Difference, Verification, verify_certificate
from prunella.core.digests import model_digest

__all__ = [
    "Difference",
    "Loss",
    "OutcomeBounds",
    "Verification",
    "bounds_from_outcomes",
    "certify",
    "check_top_k",
    "model_digest",
    "verify_certificate",
]
