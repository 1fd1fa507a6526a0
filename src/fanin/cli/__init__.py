"""The command line: one file per command, each of which parses, calls the library and answers."""

from fanin.cli.app import main as main
