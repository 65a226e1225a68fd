"""`python -m resect`: the same command as `resect`."""

from resect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
