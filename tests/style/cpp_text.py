"""C++ source with its comments and literals blanked out, so that rules see only code."""
import re

_TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",  # 1'000 is a number
    re.DOTALL)


def _blank(match):
    text = match.group(0)
    blanked = re.sub(r'[^\n]', ' ', text)
    if text.startswith('/'):
        return blanked
    return '"' + blanked[1:-1] + '"'  # a literal is still an operand


def code_only(source):
    """`source` with the same length and line numbers, comments and literals replaced by spaces."""
    return _TOKEN.sub(_blank, source)


def line_of(text, position):
    return text.count('\n', 0, position) + 1


def includes(source):
    """(line, path, quoted) of each #include."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            found.append((number, match.group(1) or match.group(2), match.group(1) is not None))
    return found
