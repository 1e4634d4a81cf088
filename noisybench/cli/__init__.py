"""The command line, one file a group of commands. Commands are thin: each calls one function."""
