"""``python -m duplexforge``: the same as the console command."""

from duplexforge.cli import main

if __name__ == "__main__":
    main()
