"""`python -m striate` is the `striate` command."""

from .cli import main

if __name__ == "__main__":
    main()
