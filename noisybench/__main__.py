"""``python -m noisybench``."""

from noisybench.cli.main import main

main()
