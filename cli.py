"""Run the command line from a checkout: ``python cli.py convert CKPT``."""

from ssn_prune.__main__ import main

if __name__ == "__main__":
    main()
