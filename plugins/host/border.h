// border.h — the two directions of the border to a plug-in. Nothing thrown crosses it: what a plug-in throws becomes an
// Error that names it, what we throw becomes a code and a sentence. Text from a plug-in is bounded and checked here.
#pragma once

#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "plugins/include/microtome_plugin.h"

namespace microtome::plugins {

constexpr size_t kNameBytes = 256, kTextBytes = size_t{64} << 10, kDocumentBytes = size_t{16} << 20;
constexpr int64_t kManyThings = 1 << 20;         // no list of names, labels or artifacts is longer
constexpr int64_t kManyNumbers = int64_t{1} << 32;

// Calls f, a callback of a plug-in. who: "plug-in FILE, run_item of 'surprisal'". Throws Error.
template <class F>
auto call_out(const std::string& who, F&& f) -> decltype(f()) {
  std::string what;
  try {
    return f();
  } catch (const std::bad_alloc&) {
    throw Error(StatusCode::kFailed, "the plug-in ran out of memory", who, "use a smaller batch or fewer prompts");
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "something that is no std::exception";
  }
  if (what.size() > 1000) what.resize(1000);
  throw Error(StatusCode::kFailed, "the plug-in threw: " + what, who, "report it to the plug-in's author");
}

// A sentence from a plug-in, fit for a message: bounded, control characters and broken UTF-8 escaped.
std::string sentence_of(const char* text, size_t max_bytes = 1000);
// Text that a plug-in handed over: throws Error(kBadInput, "NAME is null" / "is longer than …"). null_as: what null stands
// for; without it null is an error.
std::string text_of(const char* text, const std::string& what, size_t max_bytes, const char* null_as = nullptr);
// A list's length and pointer: throws Error(kBadInput) when negative, senseless, or null though not empty.
void check_list(const void* list, int64_t count, const std::string& what, int64_t most = kManyThings);

// Our sentence and code for a plug-in.
int32_t give_error(const Status& status, microtome_error* error) noexcept;
// The other way: throws unless code is MICROTOME_OK.
void take_error(int32_t code, const microtome_error& error, const std::string& who);

}  // namespace microtome::plugins
