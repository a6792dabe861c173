"""`python -m marey.testing FILE.json…`: check models against golden files, one line for each."""

from __future__ import annotations

import argparse

from marey.testing.golden import Result, check


def main() -> int:
    """Exit code 0: every model equals its reference; 1: some do not."""
    parser = argparse.ArgumentParser(prog="python -m marey.testing", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json", help="golden files")
    failed = 0
    print(f"{'model':<24}{'parameters':>14}{'largest error':>15}  verdict")
    for file in parser.parse_args().files:
        result = check(file)
        failed += not result.passed
        print(row(result), flush=True)
    return 1 if failed else 0


def row(result: Result) -> str:
    """Model, parameters, largest relative error, and the verdict with its reasons."""
    params = "-" if result.params is None else f"{result.params:,}"
    error = "-" if result.error is None else f"{result.error:.1e}"
    each = ", ".join(f"{name} {error:.1e}" for name, error in result.errors.items())
    reason = "; ".join(result.failures) or each
    verdict = "ok" if result.passed else "FAILED"
    name = result.model if result.model != "?" else result.file
    return f"{name:<24}{params:>14}{error:>15}  {verdict} ({reason})"


if __name__ == "__main__":
    raise SystemExit(main())
