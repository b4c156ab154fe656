"""``python -m coregister``."""

from coregister.cli import main

if __name__ == "__main__":
    main()
