"""The conformance kit: the whole contract of a method, checked on synthetic data in seconds."""

from noisybench.conformance.kit import Report, check_all, check_method
from noisybench.conformance.problem import Problem

__all__ = ["Problem", "Report", "check_all", "check_method"]
