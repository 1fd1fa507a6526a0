"""The command line: one file per command. Each parses, calls the library, and prints."""

from fanin.cli.command_line import main as main
