"""The command line: one file per command. Each parses, calls the library, and prints."""

from fanin.cli.app import main as main
