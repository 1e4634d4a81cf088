"""The methods' own settings, one file for each method's module, without torch: a configuration needs no more."""
