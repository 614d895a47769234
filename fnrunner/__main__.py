"""``python -m fnrunner`` is the command line."""

from fnrunner.cli.main import main

if __name__ == "__main__":
    main()
