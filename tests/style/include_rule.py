"""Who may include whom, as docs and architecture draw the arrows; and where heavy headers may be."""
import os

import cpp_text

LIBRARIES = ['base', 'oci', 'bundle']
STAGES = ['media', 'intake', 'plan', 'install', 'boot']  # each sees those before it

ALLOWED = {name: set(LIBRARIES[:place + 1]) for place, name in enumerate(LIBRARIES)}
ALLOWED['record'] = {*LIBRARIES, 'record'}
for _place, _stage in enumerate(STAGES):
    ALLOWED[_stage] = {*LIBRARIES, 'record', *STAGES[:_place + 1]}
ALLOWED['platform'] = {*LIBRARIES, 'record', *STAGES, 'platform'}
ALLOWED['agent'] = {*LIBRARIES, 'record', *STAGES, 'agent'}
ALLOWED['agent-main'] = {*ALLOWED['agent'], 'platform'}
ALLOWED['image'] = {'base', 'oci', 'image'}  # for the host alone
ALLOWED['bundle-tool'] = {*LIBRARIES, 'image', 'bundle-tool'}

HEAVY = ('nlohmann/', 'boost/', 'CLI/', 'spdlog/')
FORWARD_DECLARATIONS = 'nlohmann/json_fwd.hpp'
HEAVY_ALLOWED_IN = 'lib/base/json.hpp'


def unit_of(path):
    """The part of the project that a file belongs to; None when the rule does not know it."""
    parts = path.split('/')
    if parts[0] == 'lib' and len(parts) > 2:
        return parts[1]
    if path == 'agent/main.cpp':
        return 'agent-main'
    if parts[0] == 'agent':
        return parts[1] if len(parts) > 2 else 'agent'
    return 'bundle-tool' if parts[0] == 'bundle-tool' else None


def resolve(path, included, exists):
    """The file in the tree that a quoted include means. Whether it is there, the compiler tells."""
    root = path.split('/')[0]
    for folder in (os.path.dirname(path), 'lib', root):
        candidate = os.path.normpath(os.path.join(folder, included))
        if exists(candidate):
            return candidate
    first = included.split('/')[0]
    folder = 'lib' if first in (*LIBRARIES, 'image') else first if first in ('tests', 'bundle-tool') else 'agent'
    return included if folder == first else os.path.normpath(os.path.join(folder, included))


def check(path, source, exists):
    """Yields (line, message). `exists` tells whether a path is a file of the project."""
    unit = unit_of(path)
    if path.split('/')[0] not in ('lib', 'agent', 'bundle-tool'):
        return
    if unit not in ALLOWED:
        yield 1, f'"{unit}" is a folder that tests/style/include_rule.py has no rule for'
        return
    for line, included, quoted in cpp_text.includes(source):
        if path.endswith('.hpp') and path != HEAVY_ALLOWED_IN:
            heavy = included.startswith(HEAVY) and included != FORWARD_DECLARATIONS
            if heavy or included == 'base/json.hpp':
                yield line, f'a header may not include the heavy <{included}>'
        if not quoted:
            if included.split('/')[0] in ALLOWED and exists('lib/' + included):
                yield line, f'<{included}> is ours: include it in quotes'
            continue
        target = resolve(path, included, exists)
        if target.split('/')[0] == 'tests':
            yield line, f'"{included}" belongs to the tests'
        elif unit_of(target) not in ALLOWED[unit]:
            yield line, f'{unit} may not include {unit_of(target)} ("{included}")'
        if target == 'lib/base/log.hpp' and unit in (*LIBRARIES, 'image') and unit != 'base':
            yield line, 'libraries do not log: they return errors'
