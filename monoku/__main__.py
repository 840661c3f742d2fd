"""The command `monoku`: every command of both wings as a subcommand."""

import sys
from collections.abc import Sequence

from monoku import __version__, load

COMMANDS = dict.fromkeys(("classify", "bulk", "serve", "page", "report", "costs"), "inference")
COMMANDS |= dict.fromkeys(
    ("train", "label", "refresh", "dataset", "change", "publish", "forget", "suspects", "scan"), "training"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status: that of `python -m`, 2 for an unknown or incomplete one."""
    name, *rest = argv or sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "--version"):
        print(f"monoku {__version__}\nusage: monoku COMMAND [--help] ...\ncommands: {', '.join(COMMANDS)}")
        return 0
    sys.argv[0] = f"monoku {name}"
    try:
        if name not in COMMANDS:
            raise ImportError(f"there is no such command; commands: {', '.join(COMMANDS)}")
        command = load(COMMANDS[name], name)
    except ImportError as error:
        hint = f': pip install "monoku[{"train" if COMMANDS[name] == "training" else "log"}]"' if error.name else ""
        print(f"error: monoku {name}: {error}{hint}", file=sys.stderr)
        return 2
    return int(command.main(rest))


if __name__ == "__main__":
    sys.exit(main())
