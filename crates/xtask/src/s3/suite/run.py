"""Runs the checks that restate Ceph's s3-tests, over some threads, each in a bucket of its own.

It fails when a check fails that is not in the list of expected failures, and when one of the list does not fail as the
list says."""

import concurrent.futures
import fnmatch
import importlib
import pathlib
import sys
import traceback

sys.dont_write_bytecode = True  # it runs where the sources are

import expected
from checks import CHECKS, OPTIONS, own_bucket

for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
    if file.stem != "run":
        importlib.import_module(file.stem)

# A hub puts four objects together for one account at the same time, and tells a fifth to come again.
THREADS = 3


def run(name):
    """What went wrong, in one line; nothing when all went well."""
    try:
        with own_bucket() as bucket:
            CHECKS[name](bucket)
    except Exception as error:
        # The last line of the check itself, not of what it called.
        lines = traceback.extract_tb(error.__traceback__)
        here = [line for line in lines if "/suite/" in line.filename and not line.filename.endswith("checks.py")][-1]
        place = f"{here.filename.rpartition('/')[2]}:{here.lineno}"
        return f"{place}: {type(error).__name__}: {error}".replace("\n", " ")
    return None


def judge(name, error):
    """`passed`, `expected` or `unexpected`, and what is to be said of it."""
    wanted = expected.FAILURES.get(name)
    if wanted is None:
        return ("passed", None) if error is None else ("unexpected", error)
    answer, reason = wanted
    if error is None:
        return "unexpected", f"passes, and is expected to fail: {reason}"
    if answer not in error:
        return "unexpected", f"fails, but not by {answer!r} as expected: {error}"
    return "expected", f"{answer}: {reason}"


def main():
    chosen = [name for name in CHECKS
              if not OPTIONS.only or any(fnmatch.fnmatch(name, one + "*") for one in OPTIONS.only)]
    if OPTIONS.list:
        print("\n".join(sorted(chosen)))
        return 0
    wrong = sorted(set(expected.FAILURES) - set(CHECKS))
    wrong += [name for name in CHECKS if any(fnmatch.fnmatchcase(name, one) for one in expected.NOT_OFFERED)]
    for name in wrong:
        print(f"FAILED {name}: the list of expected failures and the checks do not fit")
    count = {"passed": 0, "expected": 0, "unexpected": 0}
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for name, error in zip(chosen, pool.map(run, chosen)):
            verdict, said = judge(name, error)
            count[verdict] += 1
            if verdict != "passed":
                print(f"{'FAILED' if verdict == 'unexpected' else 'as expected'} {name}: {said}", flush=True)
    print(f"{len(chosen)} checks: {count['passed']} passed, {count['expected']} failed as expected, "
          f"{count['unexpected']} unexpected")
    return 1 if wrong or count["unexpected"] or not chosen else 0


sys.exit(main())
