"""`python -m benchmarks`: how long things take and what they need, always beside what they are compared with."""
