// log.h — messages to a person: warnings on standard error, and to whoever listens (the desktop app's log). spdlog is
// seen by log.cc alone: the wheel's own fmt headers would shadow its.
#pragma once

#include <functional>
#include <string>

namespace microtome {

enum class LogLevel { kInfo, kWarning, kError };
// Thread-safe. A warning prints "microtome: warning: TEXT".
void log_message(LogLevel level, const std::string& text);
inline void log_warning(const std::string& text) { log_message(LogLevel::kWarning, text); }
inline void log_info(const std::string& text) { log_message(LogLevel::kInfo, text); }
// Replaces the listener (null: none). Called from whichever thread logs.
void set_log_listener(std::function<void(LogLevel, const std::string&)> listener);

}  // namespace microtome
