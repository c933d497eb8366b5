#!/usr/bin/python3
"""The checker finds what it should, and nothing else."""
import os
import tempfile
import unittest

import check
import coroutines
import cpp_text
import include_rule
import test_names
import text_rules


def co_await_findings(body):
    return [message.split(':')[0] for _, message in
            coroutines.check('awaitable<void> run() {\n' + body + '\n}\n')]


class IncludeRule(unittest.TestCase):
    tree = {'lib/base/log.hpp', 'lib/base/json.hpp', 'lib/base/bytes.hpp', 'lib/oci/digest.hpp',
            'lib/bundle/manifest.hpp', 'agent/config.hpp', 'agent/media/mounter.hpp',
            'agent/intake/finder.hpp', 'agent/plan/plan.hpp', 'agent/install/engine.hpp',
            'agent/boot/confirm.hpp', 'agent/record/journal.hpp', 'agent/platform/docker.hpp',
            'bundle-tool/names.hpp', 'tests/support/scratch.hpp'}

    def refused(self, path, *included):
        source = ''.join(f'#include {name}\n' for name in included)
        return [message for _, message in include_rule.check(path, source, self.tree.__contains__)]

    def test_arrows_of_the_libraries_point_one_way(self):
        order = ['"base/bytes.hpp"', '"oci/digest.hpp"', '"bundle/manifest.hpp"']
        for place, unit in enumerate(['base', 'oci', 'bundle']):
            for other, included in enumerate(order):
                with self.subTest(unit=unit, included=included):
                    self.assertEqual(bool(self.refused(f'lib/{unit}/x.cpp', included)), other > place)

    def test_libraries_know_neither_program(self):
        for included in ('"media/mounter.hpp"', '"config.hpp"', '"names.hpp"', '"../agent/config.hpp"',
                         '"../../bundle-tool/names.hpp"', '"record/journal.hpp"'):
            with self.subTest(included=included):
                self.assertTrue(self.refused('lib/bundle/x.cpp', included))

    def test_stages_see_those_before_them(self):
        order = ['"media/mounter.hpp"', '"intake/finder.hpp"', '"plan/plan.hpp"',
                 '"install/engine.hpp"', '"boot/confirm.hpp"']
        for place, stage in enumerate(include_rule.STAGES):
            for other, included in enumerate(order):
                with self.subTest(stage=stage, included=included):
                    self.assertEqual(bool(self.refused(f'agent/{stage}/x.hpp', included)),
                                     other > place)

    def test_stages_use_record_but_not_the_other_way_round(self):
        self.assertFalse(self.refused('agent/media/x.cpp', '"record/journal.hpp"'))
        self.assertFalse(self.refused('agent/record/x.cpp', '"journal.hpp"', '"bundle/manifest.hpp"'))
        self.assertTrue(self.refused('agent/record/x.cpp', '"media/mounter.hpp"'))
        self.assertTrue(self.refused('agent/record/x.cpp', '"plan/plan.hpp"'))

    def test_only_main_knows_the_platform(self):
        included = '"platform/docker.hpp"'
        self.assertFalse(self.refused('agent/main.cpp', included))
        self.assertFalse(self.refused('agent/platform/x.cpp', included, '"boot/confirm.hpp"'))
        for path in ('agent/daemon.cpp', 'agent/boot/x.cpp', 'agent/record/x.cpp', 'lib/base/x.cpp',
                     'bundle-tool/main.cpp'):
            with self.subTest(path=path):
                self.assertTrue(self.refused(path, included))

    def test_a_file_that_is_not_there_yet_is_judged_by_its_folder(self):
        self.assertTrue(self.refused('agent/boot/x.cpp', '"platform/absent.hpp"'))
        self.assertTrue(self.refused('lib/oci/x.cpp', '"bundle/absent.hpp"'))
        self.assertFalse(self.refused('agent/main.cpp', '"platform/absent.hpp"'))

    def test_stages_and_platform_do_not_know_the_top_of_the_agent(self):
        self.assertTrue(self.refused('agent/media/x.cpp', '"config.hpp"'))
        self.assertTrue(self.refused('agent/platform/x.cpp', '"config.hpp"'))
        self.assertFalse(self.refused('agent/daemon.cpp', '"config.hpp"'))

    def test_the_programs_do_not_know_each_other(self):
        self.assertTrue(self.refused('bundle-tool/x.cpp', '"media/mounter.hpp"'))
        self.assertTrue(self.refused('bundle-tool/x.cpp', '"../agent/config.hpp"'))
        self.assertTrue(self.refused('agent/x.cpp', '"../bundle-tool/names.hpp"'))
        self.assertFalse(self.refused('bundle-tool/x.cpp', '"names.hpp"', '"bundle/manifest.hpp"'))

    def test_nothing_that_ships_knows_the_tests(self):
        self.assertTrue(self.refused('lib/oci/x.cpp', '"../../tests/support/scratch.hpp"'))
        self.assertTrue(self.refused('agent/x.cpp', '"../tests/support/scratch.hpp"'))

    def test_libraries_do_not_log(self):
        self.assertTrue(self.refused('lib/oci/x.cpp', '"base/log.hpp"'))
        self.assertTrue(self.refused('lib/bundle/x.cpp', '"base/log.hpp"'))
        self.assertFalse(self.refused('lib/base/log.cpp', '"base/log.hpp"'))
        self.assertFalse(self.refused('agent/daemon.cpp', '"base/log.hpp"'))

    def test_our_headers_are_not_system_headers(self):
        self.assertTrue(self.refused('lib/oci/x.cpp', '<bundle/manifest.hpp>'))
        self.assertFalse(self.refused('lib/oci/x.cpp', '<vector>'))

    def test_heavy_headers_stay_out_of_headers(self):
        for included in ('<nlohmann/json.hpp>', '"base/json.hpp"', '<boost/asio.hpp>', '<CLI/CLI.hpp>',
                         '<spdlog/spdlog.h>'):
            with self.subTest(included=included):
                self.assertTrue(self.refused('lib/bundle/x.hpp', included))
                self.assertFalse(self.refused('lib/bundle/x.cpp', included))
        self.assertFalse(self.refused('lib/base/json.hpp', '<nlohmann/json.hpp>'))
        self.assertFalse(self.refused('bundle-tool/x.hpp', '<nlohmann/json_fwd.hpp>'))

    def test_a_folder_without_a_rule_is_found(self):
        self.assertTrue(self.refused('agent/extra/x.cpp'))
        self.assertTrue(self.refused('lib/extra/x.cpp'))


class Coroutines(unittest.TestCase):
    GOOD = [
        'auto n = co_await read(socket, buffer);',
        'const auto [error, n] = co_await read(socket, buffer, tuple_token);',
        'if (co_await closed(socket)) { stop(); }',
        'while (const auto line = co_await next(reader)) { use({*line}); }',
        'co_return co_await serve(request);',
        'static_cast<void>(co_await timer.async_wait(token));',
        'OU_TRY(auto n, co_await read(socket, buffer));',
        'const Options options{.depth = 1};\nconst auto n = co_await read(socket, options);',
        'const auto on_end = [&log] { log(); };\nconst auto n = co_await run(on_end);',
        'co_spawn(context, [&]() -> awaitable<void> { auto n = co_await read(a); use(n); }, done);',
        'auto task = [this, &a]() -> awaitable<void> {\n  auto n = co_await read(a);\n  use(n);\n};',
        'auto n = co_await read(buffers[2]);',
        'auto n = co_await read(a);\nconst Point p{1, 2};',
        'for (auto x : {1, 2}) { auto n = co_await read(x); use(n); }',
        '// co_await f({1}, [x] {});',
        'log("co_await f({1})");',
        '[[maybe_unused]] auto n = co_await read(a);',
        'use(Point{1});\nauto n = co_await read(a);',
        'if (a) { b(); }\nauto n = co_await read(a);',
        'const Length n{co_await read(a)};',
    ]
    DROPPED = [
        'co_await timer.async_wait(token);',
        'if (late) co_await stop();',
        'if (late(a)) { co_await stop(); }',
        'else co_await stop();',
        'use(a);\n  co_await stop();',
        'co_spawn(context, [&]() -> awaitable<void> { co_await read(a); }, done);',
        'for (;;) co_await tick();',
    ]
    LAMBDA = [
        'auto n = co_await run([x] { return x; });',
        'auto n = co_await run(a, [&](int b) { return b; });',
        'auto n = co_await run([=]() mutable -> int { return x; }, a);',
        'use(co_await read(a), [this] { stop(); });',
        'use([this] { stop(); }, co_await read(a));',
        'co_return co_await run([&a] { return a; });',
        'auto n = co_await run([] { return 1; });',
        'auto n = co_await async_initiate<T>(\n    [&a](auto handler) { a.go(std::move(handler)); }, token);',
    ]
    BRACED = [
        'auto n = co_await read(socket, {1, 2});',
        'auto n = co_await read(socket, Options{.depth = 1});',
        'auto n = co_await read(socket, Options{});',
        'use(Options{1}, co_await read(a));',
        'use({1, 2}, co_await read(a));',
        'use(co_await read(a), {1, 2});',
        'co_return Pair{co_await read(a), 1};',
        'auto n = co_await read(std::vector<int>{1});',
        'if (co_await read(Options{1})) { stop(); }',
        'auto n = use(Pair{1, co_await read(a)});',
    ]

    def check_all(self, bodies, expected):
        for body in bodies:
            with self.subTest(body=body):
                found = co_await_findings(body)
                self.assertEqual(len(found), len(expected), found)
                for message, word in zip(found, expected):
                    self.assertIn(word, message)

    def test_named_locals_pass(self):
        self.check_all(self.GOOD, [])

    def test_dropped_results_are_found(self):
        self.check_all(self.DROPPED, ['dropped'])

    def test_lambdas_are_found(self):
        self.check_all(self.LAMBDA, ['lambda'])

    def test_braced_values_are_found(self):
        self.check_all(self.BRACED, ['braced'])

    def test_the_line_is_right(self):
        found = list(coroutines.check('/* a\n b */\nvoid f() {\n  co_await g();\n}\n'))
        self.assertEqual([line for line, _ in found], [4])


class TextRules(unittest.TestCase):
    def found(self, path, source):
        return [message for _, message in text_rules.check(path, source)]

    def test_a_proper_header_passes(self):
        self.assertEqual(self.found('lib/a.hpp', '// What it is.\n#pragma once\n'), [])

    def test_a_source_is_introduced_by_its_header_or_a_comment(self):
        self.assertFalse(self.found('lib/a.cpp', '#include "oci/a.hpp"\n'))
        self.assertFalse(self.found('tests/a_test.cpp', '#include "oci/a.hpp"\n'))
        self.assertFalse(self.found('lib/a.cpp', '// What it is.\n#include "oci/b.hpp"\n'))
        self.assertTrue(self.found('lib/a.cpp', '#include "oci/b.hpp"\n'))
        self.assertTrue(self.found('lib/a.cpp', '#include <vector>\n'))
        self.assertTrue(self.found('lib/a.cpp', ''))

    def test_a_header_needs_comment_and_pragma(self):
        self.assertTrue(self.found('lib/a.hpp', '#pragma once\n'))
        self.assertTrue(self.found('lib/a.hpp', '// What it is.\nint a;\n'))
        self.assertTrue(self.found('lib/a.hpp', '// #pragma once\nint a;\n'))

    def test_size(self):
        self.assertFalse(self.found('lib/a.cpp', '// x\n' * 499))
        self.assertTrue(self.found('lib/a.cpp', '// x\n' * 500))
        self.assertTrue(self.found('tests/a.py', '#\n' * 500))
        self.assertFalse(self.found('docs/a.md', 'x\n' * 5000))

    def test_columns_and_tabs(self):
        self.assertFalse(self.found('lib/a.cpp', '// ' + 'x' * 97 + '\n'))
        self.assertTrue(self.found('lib/a.cpp', '// ' + 'x' * 98 + '\n'))
        self.assertFalse(self.found('lib/a.cpp', '// \u00e4' + '\u00e4' * 96 + '\n'))
        self.assertFalse(self.found('lib/a.cpp', '// x\nf(R"(' + 'x' * 98 + ')");\n'))
        self.assertTrue(self.found('lib/a.cpp', '// x\n\tint a;\n'))
        self.assertTrue(self.found('docs/a.md', 'a\tb\n'))

    def test_hosts_of_package_registries(self):
        for host in text_rules.REGISTRY_HOSTS:
            for text in (host, f'https://{host}/x', f'"{host}"', f'mirror.{host}:443'):
                with self.subTest(text=text):
                    self.assertTrue(self.found('docs/a.md', text + '\n'))
        for text in ('docker.io/library/busybox', 'apt-get install docker.io', 'my' + 'crates.iox',
                     'debian.org'):
            with self.subTest(text=text):
                self.assertFalse(self.found('docs/a.md', text + '\n'))


class Whole(unittest.TestCase):
    def test_comments_and_literals_are_blanked_in_place(self):
        source = 'a("x//y", \'"\', 1\'000); // b\n/* c\n*/ d(R"q({"k": "\\"})q");\n'
        code = cpp_text.code_only(source)
        self.assertEqual(len(code), len(source))
        self.assertEqual(code.count('\n'), source.count('\n'))
        for gone in ('x', 'y', 'b', 'c', 'k'):
            self.assertNotIn(gone, code)
        self.assertIn("1'000", code)
        self.assertIn(' d(', code)

    def test_the_page_of_tests_names_what_is_there(self):
        def found(text):
            return [message for _, message in test_names.check(text, lambda path: path == 'tests/unit/a_test.cpp',
                                                               {'test_one', 'test_two_things'})]

        self.assertEqual(found('`unit/a_test.cpp`, `test_one`, `test_two…`'), [])
        self.assertEqual(len(found('`unit/b_test.cpp`\n`test_two`, `test_three…`')), 3)

    def test_a_bad_tree_is_found_file_by_file(self):
        with tempfile.TemporaryDirectory() as root:
            def write(path, text):
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), 'w', encoding='utf-8') as file:
                    file.write(text)
            write('lib/base/good.hpp', '// Good.\n#pragma once\n')
            write('lib/base/bad.hpp', '// Bad.\n#pragma once\n#include "oci/digest.hpp"\n')
            write('lib/oci/digest.hpp', '// Digest.\n#pragma once\n#include "base/good.hpp"\n')
            write('agent/run.cpp', '// Run.\nvoid f() { co_await g(); }\n')
            write('build/dev/generated.cpp', 'x\n')
            found = {(path, line) for path, line, _ in check.findings(root, check.files_of(root))}
            self.assertEqual(found, {('lib/base/bad.hpp', 3), ('agent/run.cpp', 2)})


if __name__ == '__main__':
    unittest.main()
