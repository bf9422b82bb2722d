#include "plugins/host/border.h"

#include <cstdio>
#include <cstring>

#include "core/base/quote.h"

namespace microtome::plugins {

std::string sentence_of(const char* text, size_t max_bytes) {
  if (!text) return "";
  std::string quoted = in_quotes(std::string_view(text, strnlen(text, max_bytes)), max_bytes);
  return quoted.substr(1, quoted.size() - 2);
}

std::string text_of(const char* text, const std::string& what, size_t max_bytes, const char* null_as) {
  if (!text) {
    if (null_as) return null_as;
    throw Error(StatusCode::kBadInput, what + " is null");
  }
  size_t n = strnlen(text, max_bytes + 1);
  if (n > max_bytes) throw Error(StatusCode::kBadInput, what + " is longer than " + std::to_string(max_bytes) + " bytes");
  return std::string(text, n);
}

void check_list(const void* list, int64_t count, const std::string& what, int64_t most) {
  if (count < 0 || count > most)
    throw Error(StatusCode::kBadInput, what + " are said to be " + std::to_string(count) + ", which cannot be");
  if (count > 0 && !list) throw Error(StatusCode::kBadInput, what + " are null, though said to be " + std::to_string(count));
}

int32_t give_error(const Status& status, microtome_error* error) noexcept {
  int32_t code = MICROTOME_FAILED;
  switch (status.code()) {
    case StatusCode::kOk: code = MICROTOME_OK; break;
    case StatusCode::kBadInput: code = MICROTOME_BAD_INPUT; break;
    case StatusCode::kNotFound: code = MICROTOME_NOT_FOUND; break;
    case StatusCode::kUnsupported: code = MICROTOME_UNSUPPORTED; break;
    case StatusCode::kCancelled: code = MICROTOME_CANCELLED; break;
    default:
      if (status.what().find("out of memory") != std::string::npos) code = MICROTOME_OUT_OF_MEMORY;
  }
  if (error) {
    error->code = code;
    try {
      std::snprintf(error->text, sizeof error->text, "%s", status.text().c_str());
    } catch (...) {
      error->text[0] = 0;
    }
  }
  return code;
}

void take_error(int32_t code, const microtome_error& error, const std::string& who) {
  if (code == MICROTOME_OK) return;
  std::string text = sentence_of(error.text, sizeof error.text - 1);
  if (text.empty()) text = "the plug-in failed with code " + std::to_string(code) + " and said nothing more";
  StatusCode status = StatusCode::kFailed;
  if (code == MICROTOME_BAD_INPUT) status = StatusCode::kBadInput;
  if (code == MICROTOME_NOT_FOUND) status = StatusCode::kNotFound;
  if (code == MICROTOME_UNSUPPORTED) status = StatusCode::kUnsupported;
  // The runner knows by these words that a smaller batch may help.
  if (code == MICROTOME_OUT_OF_MEMORY && text.find("out of memory") == std::string::npos) text = "out of memory: " + text;
  throw Error(status, text, who);
}

}  // namespace microtome::plugins
