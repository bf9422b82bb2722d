#include "core/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <utility>

namespace microtome {
namespace {

using Listener = std::function<void(LogLevel, const std::string&)>;

// One a process, like the standard error that it writes to.
struct Log {
  std::mutex mutex;                              // guards listener
  std::shared_ptr<const Listener> listener;
  spdlog::logger logger{"microtome", std::make_shared<spdlog::sinks::stderr_sink_mt>()};

  Log() { logger.set_pattern("microtome: %l: %v"); }
};

Log& process_log() {
  static Log log;
  return log;
}

}  // namespace

void log_message(LogLevel level, const std::string& text) {
  Log& log = process_log();
  // Information is for whoever listens; standard error is kept for what a person must see.
  if (level != LogLevel::kInfo) {
    const auto severity = level == LogLevel::kWarning ? spdlog::level::warn : spdlog::level::err;
    log.logger.log(severity, spdlog::string_view_t(text.data(), text.size()));
    log.logger.flush();
  }
  std::shared_ptr<const Listener> listener;
  {
    std::lock_guard lock(log.mutex);
    listener = log.listener;
  }
  if (listener) (*listener)(level, text);
}

void set_log_listener(std::function<void(LogLevel, const std::string&)> listener) {
  Log& log = process_log();
  auto next = listener ? std::make_shared<const Listener>(std::move(listener)) : nullptr;
  std::lock_guard lock(log.mutex);
  log.listener = std::move(next);
}

}  // namespace microtome
