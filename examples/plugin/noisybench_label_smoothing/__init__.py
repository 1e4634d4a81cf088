"""Label smoothing as a noisybench method."""
