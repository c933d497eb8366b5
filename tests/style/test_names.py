"""docs/testing.md promises tests by name; each has to be there."""
import re

PAGE = 'docs/testing.md'
_FILE = re.compile(r'`((?:unit|integration|lab|style)/[\w/]+\.(?:cpp|py))`')
_FUNCTION = re.compile(r'`(test_[a-z0-9_]+)(…?)`')


def check(source, exists, lab_functions):
    """(line, message) for each file or lab function that docs/testing.md names and that is not there."""
    for number, line in enumerate(source.splitlines(), start=1):
        for path in _FILE.findall(line):
            if not exists('tests/' + path):
                yield number, f'names tests/{path}, which is not there'
        for name, dots in _FUNCTION.findall(line):
            if not any(f == name or (dots and f.startswith(name)) for f in lab_functions):
                yield number, f'names {name}, which is no test of tests/lab'
