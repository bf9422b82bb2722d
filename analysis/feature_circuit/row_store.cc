#include "analysis/feature_circuit/row_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "core/base/status.h"

namespace microtome::feature_circuit {
namespace {

[[noreturn]] void failed(const char* what) {
  throw Error(StatusCode::kFailed, std::string(what) + ": " + std::strerror(errno), "rows of the graph",
              "free space in the folder for temporary files, or name another one in TMPDIR");
}

}  // namespace

RowStore::RowStore(const NodeIndex& nodes, bool in_memory) : nodes_(nodes), row_of_(static_cast<size_t>(nodes.size()), -1) {
  if (in_memory) return;
  std::string name = (std::filesystem::temp_directory_path() / "microtome-rows-XXXXXX").string();
  file_ = ::mkstemp(name.data());
  if (file_ < 0) failed("a temporary file cannot be made");
  ::unlink(name.c_str());
}

RowStore::~RowStore() {
  if (file_ >= 0) ::close(file_);
}

void RowStore::append(int64_t target, const float* values, int64_t count) {
  if (has(target) || count != nodes_.row_length(target)) throw Error(StatusCode::kInternal, "a row of the graph does not fit");
  if (file_ < 0) {
    kept_.emplace_back(values, values + count);
  } else {
    const char* from = reinterpret_cast<const char*>(values);
    int64_t left = count * static_cast<int64_t>(sizeof(float)), at = bytes_;
    while (left > 0) {
      const ssize_t n = ::pwrite(file_, from, static_cast<size_t>(left), at);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) failed("a row cannot be written");
      from += n, at += n, left -= n;
    }
  }
  row_of_[static_cast<size_t>(target)] = rows();
  targets_.push_back(target);
  offsets_.push_back(bytes_);
  lengths_.push_back(count);
  bytes_ += count * static_cast<int64_t>(sizeof(float));
}

const std::vector<float>& RowStore::read(int64_t row) const {
  const size_t r = static_cast<size_t>(row);
  if (file_ < 0) return kept_[r];
  buffer_.resize(static_cast<size_t>(lengths_[r]));
  char* to = reinterpret_cast<char*>(buffer_.data());
  int64_t left = lengths_[r] * static_cast<int64_t>(sizeof(float)), at = offsets_[r];
  while (left > 0) {
    const ssize_t n = ::pread(file_, to, static_cast<size_t>(left), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) failed("a row cannot be read back");
    to += n, at += n, left -= n;
  }
  return buffer_;
}

std::vector<int64_t> RowStore::downward() const {
  std::vector<int64_t> out(targets_.size());
  std::iota(out.begin(), out.end(), 0);
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) { return nodes_.layer_of(target(a)) > nodes_.layer_of(target(b)); });
  return out;
}

}  // namespace microtome::feature_circuit
