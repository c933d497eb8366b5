#!/usr/bin/python3
"""Checks the rules of the tree that no compiler checks. Usage: check.py SOURCE-DIRECTORY"""
import os
import re
import sys

import coroutines
import include_rule
import test_names
import text_rules


def files_of(root):
    """Paths of the project's text files, relative to `root`; build directories are left out."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in sorted(names)
                    if not name.startswith(('.', '__')) and name != 'build']
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), root)
            if name.endswith(text_rules.TEXT) or '.' not in name or name.endswith('.template'):
                yield path


def lab_functions(root):
    """The names of the functions in tests/lab."""
    names = set()
    folder = os.path.join(root, 'tests/lab')
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith('.py'):
            with open(os.path.join(folder, name), encoding='utf-8') as file:
                names.update(re.findall(r'^def (\w+)', file.read(), re.MULTILINE))
    return names


def findings(root, paths):
    """All (path, line, message) of the files `paths`."""
    def exists(path):
        return os.path.isfile(os.path.join(root, path))

    for path in paths:
        try:
            with open(os.path.join(root, path), encoding='utf-8', newline='') as file:
                source = file.read()
        except UnicodeDecodeError:
            if path.endswith(text_rules.TEXT):
                yield path, 1, 'is not UTF-8'
            continue
        found = list(text_rules.check(path, source))
        if path.endswith(('.cpp', '.hpp')):
            found += include_rule.check(path, source, exists)
            found += coroutines.check(source)
        if path == test_names.PAGE:
            found += test_names.check(source, exists, lab_functions(root))
        for line, message in found:
            yield path, line, message


def main():
    root = sys.argv[1]
    paths = list(files_of(root))
    if not any(path.startswith('lib/base/') for path in paths):
        sys.exit(f'{root} is not the source directory')
    found = list(findings(root, paths))
    for path, line, message in found:
        print(f'{path}:{line}: {message}')
    print(f'{len(paths)} files, {len(found)} findings')
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
