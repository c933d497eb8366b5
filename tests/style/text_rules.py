"""Rules about a file as text: its size, its first lines, its characters."""
import os
import re

import cpp_text

MAX_LINES = 500
MAX_COLUMNS = 100
TEXT = ('.cpp', '.hpp', '.py', '.sh', '.cmake', '.md', '.yml', '.json', '.service', '.rules', '.txt')

# Written in two parts, so that this file passes.
REGISTRY_HOSTS = [f'{name}.{end}' for name, end in (
    ('pypi', 'org'), ('files.pythonhosted', 'org'), ('registry.npmjs', 'org'), ('crates', 'io'),
    ('proxy.golang', 'org'), ('sum.golang', 'org'), ('rubygems', 'org'), ('maven.apache', 'org'),
    ('repo1.maven', 'org'), ('deb.debian', 'org'), ('security.debian', 'org'),
    ('snapshot.debian', 'org'), ('archive.ubuntu', 'com'), ('registry-1.docker', 'io'),
    ('auth.docker', 'io'), ('hub.docker', 'com'), ('ghcr', 'io'), ('quay', 'io'), ('gcr', 'io'))]
_HOSTS = re.compile(r'(?<![\w.-])(?:[\w-]+\.)*(?:' + '|'.join(map(re.escape, REGISTRY_HOSTS)) +
                    r')(?![\w-])')


def _introduces_itself(path, source):
    """A comment first; or, in a .cpp, the header that says what the file is for."""
    if source.startswith(('// ', '/* ')):
        return True
    stem = os.path.basename(path)[:-len('.cpp')].removesuffix('_test')
    includes = cpp_text.includes(source)
    return path.endswith('.cpp') and bool(includes) and includes[0][0] == 1 and \
        os.path.basename(includes[0][1]) == stem + '.hpp'


def check(path, source):
    """Yields (line, message)."""
    lines = source.split('\n')
    cpp = path.endswith(('.cpp', '.hpp'))
    if cpp or path.endswith(('.py', '.sh')):
        if len(lines) > MAX_LINES:
            yield MAX_LINES, f'{len(lines) - 1} lines: a file has less than {MAX_LINES}'
    if cpp:
        if not _introduces_itself(path, source):
            yield 1, 'the file does not begin with a comment that says what it is for'
        if path.endswith('.hpp') and not re.search(r'^#pragma once$', source, re.MULTILINE):
            yield 1, 'a header needs #pragma once'
    for number, line in enumerate(lines, 1):
        if '\t' in line:
            yield number, 'a tab'
        if cpp and len(line) > MAX_COLUMNS and 'R"' not in line:  # raw literals cannot be broken
            yield number, f'{len(line)} columns: at most {MAX_COLUMNS}'
        if _HOSTS.search(line):
            yield number, 'the name of a package registry\'s host'
