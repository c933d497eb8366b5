"""The two traps of co_await under g++ 12.

Some temporaries in a statement with co_await are destroyed twice, so such a statement may hold no lambda
and no braced value: only named locals. And the result of a co_await can be dropped without a warning, so
no statement begins with it: static_cast<void>(co_await ...) says that it is meant.
"""
import re

import cpp_text

_CLOSING = {'}': '{', ')': '(', ']': '['}
_BLOCK_START = re.compile(r'\s*(?:if|for|while|switch|do|try|co_return|return|throw)\b')


def _pairs(code):
    """Maps the position of each bracket to that of its partner."""
    pairs, stack = {}, []
    for position, char in enumerate(code):
        if char in '([{':
            stack.append((char, position))
        elif char in _CLOSING and stack and stack[-1][0] == _CLOSING[char]:
            start = stack.pop()[1]
            pairs[start], pairs[position] = position, start
    return pairs


def _is_block(code, pairs, opening):
    """Whether the brace at `opening` holds statements rather than a value."""
    end = pairs.get(opening, len(code))
    if _BLOCK_START.match(code, opening + 1, end):
        return True
    position = opening + 1
    while position < end:
        char = code[position]
        if char == ';':
            return True
        position = pairs.get(position, position) + 1 if char in '([{' else position + 1
    return code[opening + 1:end].strip() == '' and code[:opening].rstrip().endswith(')')


def _statement_start(code, pairs, position):
    """Where the statement around `position` starts, braced values around it included."""
    at = position - 1
    while at >= 0:
        char = code[at]
        if char == ';' or (char == '{' and _is_block(code, pairs, at)):
            return at + 1
        if char in ')]':
            at = pairs.get(at, at)
        elif char == '}':
            opening = pairs.get(at, at)
            if _is_block(code, pairs, opening) and not _goes_on(code, at):
                return at + 1
            at = opening
        at -= 1
    return 0


def _goes_on(code, closing):
    """Whether the expression goes on after the brace at `closing`, as after a lambda's body."""
    return code[closing + 1:].lstrip()[:1] in set(',.)(]')


def _statement_end(code, pairs, position):
    at = position
    while at < len(code):
        char = code[at]
        if char == ';' or (char == '{' and _is_block(code, pairs, at) and not _after_lambda(code, at)):
            return at
        if char in '([{':
            at = pairs.get(at, at)
        at += 1
    return len(code)


def _after_lambda(code, opening):
    return re.search(r'\][^;{}]*$', code[:opening]) is not None and \
        re.search(r'\[[^\[\];{}]*\]\s*(?:\([^;{}]*\))?[^;{}()]*$', code[:opening]) is not None


def _lambda_in(text):
    for match in re.finditer(r'\[', text):
        before = text[:match.start()].rstrip()
        if text[match.start():match.start() + 2] == '[[' or before.endswith('['):
            continue  # an attribute
        word = re.search(r'(\w+)$', before)
        if not before or (before[-1] not in ')]"' and not word) or \
                (word and word.group(1) in ('return', 'co_await', 'co_return', 'co_yield')):
            return match.start()
    return None


def check(source):
    """Yields (line, message)."""
    code = cpp_text.code_only(source)
    pairs = _pairs(code)
    for match in re.finditer(r'\bco_await\b', code):
        start = _statement_start(code, pairs, match.start())
        end = _statement_end(code, pairs, match.end())
        line = cpp_text.line_of(code, match.start())
        before = code[start:match.start()].strip()
        if re.fullmatch(r'(?:(?:if|while|for|switch)\s*\(.*\)|else|do|\w+\s*:|case\b.*:)?', before,
                        re.DOTALL):
            yield line, 'the result of co_await is dropped: use it, or say static_cast<void>(...)'
        statement = code[start:end]
        if _lambda_in(statement) is not None:
            yield line, 'a lambda in a statement with co_await is destroyed twice: name it first'
        elif '{' in statement.split('co_await', 1)[1] or _braced_around(statement):
            yield line, 'a braced value in a statement with co_await is destroyed twice: name it first'


def _braced_around(statement):
    """Whether a brace stands before the co_await, other than that of the variable being made."""
    before = statement.split('co_await', 1)[0]
    named = re.match(r'\s*(?:(?:const|constexpr|static)\s+)*[\w:<>,&*\s]+\s[&*]*\w+\s*\{\s*$', before)
    plain_return = re.match(r'\s*(?:co_)?return\b', before)
    return '{' in before and (named is None or plain_return is not None)
