"""The commands of the coursework: list, release, grade, grade-one, package."""

import argparse
import json
import sys
from pathlib import Path

from coursework import assignment as assignments
from coursework.course import grade_course, write
from coursework.grade import grade
from coursework.jail import how, protections
from coursework.notebook import SubmissionError, read_bytes
from coursework.package import gradescope, package


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"coursework: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m coursework", description="Assign, grade, hand over."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("list", help="the assignments: minutes and points")
    one.set_defaults(run=_list)

    one = commands.add_parser("release", help="write the students' notebooks")
    one.add_argument("destination", type=Path, metavar="DEST")
    one.add_argument("names", nargs="*", metavar="ASSIGNMENT", help="default: all")
    one.set_defaults(run=_release)

    one = commands.add_parser("grade", help="grade a folder of submissions")
    one.add_argument("submissions", type=Path, metavar="SUBMISSIONS")
    one.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    one.add_argument("--assignment", metavar="NAME", help="default: SUBMISSIONS' name")
    one.add_argument("--jobs", type=int, default=1, help="submissions at a time")
    one.set_defaults(run=_grade)

    one = commands.add_parser("grade-one", help="one submission to one JSON")
    one.add_argument("submission", type=Path, metavar="NOTEBOOK")
    one.add_argument("--assignment", required=True, metavar="NAME")
    one.add_argument("--out", type=Path, required=True, metavar="JSON")
    one.add_argument("--student", help="default: the notebook's name")
    one.add_argument("--seed", default="", help="the course's secret")
    one.add_argument("--gradescope", type=Path, metavar="JSON", help="results.json too")
    one.set_defaults(run=_grade_one)

    one = commands.add_parser("package", help="an autograder zip for Gradescope")
    one.add_argument("name", metavar="ASSIGNMENT")
    one.add_argument("--out", type=Path, metavar="ZIP", help="default: ASSIGNMENT.zip")
    one.set_defaults(run=_package)
    return parser


def _list(options):
    for name in assignments.names():
        found = assignments.load(name)
        by_hand = found.points - found.automatic
        note = f", {by_hand:g} of them by hand" if by_hand else ""
        minutes, points = f"{found.minutes} minutes", f"{found.points:g} points"
        print(f"{name:10} {found.title}: {minutes}, {points}{note}")
    return 0


def _release(options):
    from coursework.release import release

    for name in options.names or assignments.names():
        print(release(assignments.load(name), options.destination))
    return 0


def _grade(options):
    name = options.assignment or options.submissions.resolve().name
    assignment = assignments.load(name)
    _say_protections((options.submissions, options.out.resolve().parent))
    path, notes = grade_course(
        assignment, options.submissions, options.out, options.jobs
    )
    for note in notes:
        print(note, file=sys.stderr)
    print(path)
    return 0


def _grade_one(options):
    assignment = assignments.load(options.assignment)
    student = options.student or options.submission.stem
    data, note = b"", ""
    try:
        data = read_bytes(_only(options.submission))
    except SubmissionError as error:
        note = str(error)
    record = grade(assignment, data, student, options.seed, note)
    write(options.out, json.dumps(record, indent=1, sort_keys=True) + "\n")
    if options.gradescope:
        write(options.gradescope, json.dumps(gradescope(record), indent=1) + "\n")
    print(f"{student}: {record['points']:g} of {record['of']:g}")
    return 0


def _package(options):
    assignment = assignments.load(options.name)
    print(package(assignment, options.out or Path(f"{assignment.name}.zip")))
    return 0


def _only(path):
    """The notebook, or the only one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.ipynb"))
    if len(found) != 1:
        raise SubmissionError(f"There are {len(found)} notebooks; hand in one.")
    return found[0]


def _say_protections(folders):
    given = protections(folders)
    missing = [name for name in given if not given[name]]
    print(f"Submissions run in: {how()}.", file=sys.stderr)
    for name in missing:
        print(f"Missing on this machine: {name}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
