#include "core/io/stored_zip.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

#include "core/base/quote.h"
#include "core/base/status.h"

namespace microtome {
namespace {

constexpr uint64_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kMemberBytes = 46, kLocalBytes = 30;
constexpr uint64_t kMaxComment = 65535;

class Archive {
 public:
  Archive(std::span<const uint8_t> bytes, const std::string& where, const std::string& todo) : bytes_(bytes), where_(where), todo_(todo) {}

  std::map<std::string, std::span<const uint8_t>> read() {
    const Directory d = directory();
    std::map<std::string, std::span<const uint8_t>> out;
    std::vector<Range> ranges;
    uint64_t at = d.begin;
    for (uint64_t i = 0; i < d.count; ++i) at = member(at, d, out, ranges);
    if (at != d.end) bad("its directory has another length than it says");
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < ranges.size(); ++i)
      if (ranges[i].begin < ranges[i - 1].end) bad("two of its members overlap");
    return out;
  }

 private:
  struct Directory {
    uint64_t begin = 0, end = 0, count = 0;
  };
  struct Range {
    uint64_t begin, end;
  };

  [[noreturn]] void bad(const std::string& what) const {
    throw Error(StatusCode::kBadInput, "the zip archive is damaged: " + what, where_,
                "the file may be cut short; download it again");
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(StatusCode::kUnsupported, "the zip archive " + what, where_, todo_);
  }

  void need(uint64_t at, uint64_t n, uint64_t end, const char* what) const {
    if (at > end || n > end - at) bad(std::string(what) + " does not fit into it");
  }
  // Little-endian; the caller has asked for room.
  uint64_t number(uint64_t at, int n) const {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; --i) v = v << 8 | bytes_[static_cast<size_t>(at) + static_cast<size_t>(i)];
    return v;
  }
  bool has(uint64_t at, uint32_t signature) const {
    return at <= bytes_.size() && bytes_.size() - at >= 4 && number(at, 4) == signature;
  }

  Directory directory() const {
    const uint64_t size = bytes_.size();
    if (size < kEndBytes) bad("it is shorter than a directory");
    const uint64_t lowest = size - std::min(size, kEndBytes + kMaxComment);
    uint64_t at = size - kEndBytes;
    while (!has(at, 0x06054b50) || number(at + 20, 2) != size - at - kEndBytes) {
      if (at == lowest) bad("it has no directory at its end");
      --at;
    }
    if (number(at + 4, 2) != 0 || number(at + 6, 2) != 0 || number(at + 8, 2) != number(at + 10, 2))
      unsupported("is one of several parts");
    Directory d;
    d.count = number(at + 10, 2);
    uint64_t bytes = number(at + 12, 4), end = at;
    d.begin = number(at + 16, 4);
    if (at >= kLocatorBytes && has(at - kLocatorBytes, 0x07064b50)) {
      const uint64_t end64 = number(at - kLocatorBytes + 8, 8);
      need(end64, kEnd64Bytes, at - kLocatorBytes, "its zip64 record");
      if (!has(end64, 0x06064b50)) bad("its zip64 record is not where it should be");
      d.count = number(end64 + 32, 8);
      bytes = number(end64 + 40, 8);
      d.begin = number(end64 + 48, 8);
      end = end64;
    }
    need(d.begin, bytes, end, "its directory");
    d.end = d.begin + bytes;
    if (d.count > bytes / kMemberBytes) bad("its directory is too short for its members");
    return d;
  }

  // Reads one entry of the directory; gives where the next begins.
  uint64_t member(uint64_t at, const Directory& d, std::map<std::string, std::span<const uint8_t>>& out,
                  std::vector<Range>& ranges) const {
    need(at, kMemberBytes, d.end, "an entry of its directory");
    if (!has(at, 0x02014b50)) bad("an entry of its directory is none");
    const uint64_t flags = number(at + 8, 2), method = number(at + 10, 2);
    uint64_t packed = number(at + 20, 4), size = number(at + 24, 4), local = number(at + 42, 4);
    const uint64_t name_bytes = number(at + 28, 2), extra_bytes = number(at + 30, 2), comment = number(at + 32, 2);
    need(at + kMemberBytes, name_bytes + extra_bytes + comment, d.end, "an entry of its directory");
    const std::string name = text(at + kMemberBytes, name_bytes);
    widen(at + kMemberBytes + name_bytes, extra_bytes, size, packed, local);
    if (flags & 1) unsupported("has the encrypted member " + in_quotes(name));
    if (method != 0) unsupported("has the compressed member " + in_quotes(name) + ", and only stored ones are read");
    if (packed != size) bad("member " + in_quotes(name) + " has two sizes");
    need(local, kLocalBytes, d.begin, "a member");
    if (!has(local, 0x04034b50)) bad("member " + in_quotes(name) + " is not where the directory says");
    const uint64_t local_name = number(local + 26, 2), local_extra = number(local + 28, 2);
    need(local + kLocalBytes, local_name + local_extra, d.begin, "a member");
    if (text(local + kLocalBytes, local_name) != name) bad("member " + in_quotes(name) + " has two names");
    const uint64_t data = local + kLocalBytes + local_name + local_extra;
    need(data, size, d.begin, "a member");
    if (!out.emplace(name, bytes_.subspan(static_cast<size_t>(data), static_cast<size_t>(size))).second)
      bad("member " + in_quotes(name) + " is there twice");
    ranges.push_back({local, data + size});
    return at + kMemberBytes + name_bytes + extra_bytes + comment;
  }

  std::string text(uint64_t at, uint64_t n) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + at, static_cast<size_t>(n)};
  }

  // Numbers that are all ones stand in the zip64 field, in this order.
  void widen(uint64_t at, uint64_t extra_bytes, uint64_t& size, uint64_t& packed, uint64_t& local) const {
    const uint64_t end = at + extra_bytes;
    while (end - at >= 4) {
      const uint64_t id = number(at, 2), bytes = number(at + 2, 2);
      at += 4;
      need(at, bytes, end, "an extra field");
      if (id == 1) {
        uint64_t p = at;
        for (uint64_t* field : {&size, &packed, &local}) {
          if (*field != std::numeric_limits<uint32_t>::max()) continue;
          need(p, 8, at + bytes, "a zip64 field");
          *field = number(p, 8);
          p += 8;
        }
        return;
      }
      at += bytes;
    }
  }

  std::span<const uint8_t> bytes_;
  const std::string& where_;
  const std::string& todo_;
};

}  // namespace

std::map<std::string, std::span<const uint8_t>> read_stored_zip(std::span<const uint8_t> archive, const std::string& where,
                                                                const std::string& todo) {
  return Archive(archive, where, todo).read();
}

}  // namespace microtome
