"""The conformance kit: the whole contract of a method, checked on synthetic data in seconds."""

from noisybench.conformance.finding import Finding
from noisybench.conformance.kit import (
    CheckReport,
    check_all,
    check_method,
    compare_processes,
    print_check,
    print_check_all,
)
from noisybench.conformance.setups import AS_FROZEN

__all__ = [
    "AS_FROZEN",
    "CheckReport",
    "Finding",
    "check_all",
    "check_method",
    "compare_processes",
    "print_check",
    "print_check_all",
]
