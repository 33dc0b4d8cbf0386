"""``python -m ssn_prune``."""

from ssn_prune.cli.app import main

if __name__ == "__main__":
    main()
