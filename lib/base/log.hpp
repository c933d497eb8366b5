// One line of log per event. Libraries under lib/ do not log; they return errors.
#pragma once

#include <string>
#include <string_view>

namespace base::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// Log lines go to standard error with a level; the journal or the engine adds the time.
/// Not thread-safe: call it first in main.
void start(Level level);

void debug(std::string_view message);
void info(std::string_view message);
void warning(std::string_view message);
void error(std::string_view message);

}  // namespace base::log
