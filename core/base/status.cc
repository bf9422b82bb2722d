#include "core/base/status.h"

#include <new>

namespace microtome {

std::string Status::text() const {
  std::string out = what_;
  if (!where_.empty()) out += " (" + where_ + ")";
  if (!todo_.empty()) out += ": " + todo_;
  return out;
}

int Status::exit_code() const {
  switch (code_) {
    case StatusCode::kOk: return 0;
    case StatusCode::kBadInput:
    case StatusCode::kNotFound:
    case StatusCode::kUnsupported: return 2;
    case StatusCode::kCancelled: return 130;
    default: return 1;
  }
}

Status status_of_current_exception() {
  try {
    throw;
  } catch (const Error& e) {
    return e.status();
  } catch (const std::bad_alloc&) {
    return {StatusCode::kFailed, "out of memory", "", "use a smaller batch, fewer positions or a smaller dtype"};
  } catch (const std::exception& e) {
    // LibTorch appends a C++ stack to what(); the first line is the message.
    std::string text = e.what();
    if (auto end = text.find("\nException raised from"); end != std::string::npos) text.resize(end);
    if (text.find("not enough memory") != std::string::npos || text.find("out of memory") != std::string::npos)
      return {StatusCode::kFailed, "out of memory: " + text, "", "use a smaller batch, fewer positions or a smaller dtype"};
    return {StatusCode::kInternal, text};
  } catch (...) {
    return {StatusCode::kInternal, "an unknown exception was thrown"};
  }
}

}  // namespace microtome
