"""The conformance kit: the whole contract of a method, checked on synthetic data in seconds."""

from noisybench.conformance.finding import Problem
from noisybench.conformance.kit import Report, check_all, check_method, print_check, print_check_all

__all__ = ["Problem", "Report", "check_all", "check_method", "print_check", "print_check_all"]
