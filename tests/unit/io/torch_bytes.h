// torch_bytes.h — files of torch.save made by hand: opcodes of a pickle, a stored zip, the plain stream of before 1.6.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace microtome::testing {

inline std::string le(uint64_t v, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i));
  return out;
}
inline std::string text(const std::string& s) { return "X" + le(s.size(), 4) + s; }
inline std::string integer(int64_t v) { return "\x8a\x08" + le(static_cast<uint64_t>(v), 8); }
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const auto& i : items) out += i;
  return out + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t v : values) items.push_back(integer(v));
  return tuple(items);
}
inline std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
inline std::string ordered_dict() { return global("collections", "OrderedDict") + ")R"; }
// view: opcodes of the sixth part that files of before torch 1.6 have.
inline std::string storage(const std::string& type, const std::string& key, int64_t count, const std::string& view = "") {
  std::vector<std::string> parts = {text("storage"), global(type == "UntypedStorage" ? "torch.storage" : "torch", type),
                                    text(key), text("cpu"), integer(count)};
  if (!view.empty()) parts.push_back(view);
  return tuple(parts) + "Q";
}
inline std::string tensor(const std::string& storage_ops, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({storage_ops, integer(offset), integers(shape), integers(strides), "\x89", ordered_dict()}) + "R";
}
using Pairs = std::vector<std::pair<std::string, std::string>>;
inline std::string dictionary(const Pairs& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
inline std::string stream(const std::string& ops) { return "\x80\x02" + ops + "."; }

struct Member {
  std::string name, data;
  uint64_t method = 0, flags = 0;
};
// zip64: sizes and places stand in the 64-bit records, as torch.save writes them for large files.
inline std::string zip(const std::vector<Member>& members, bool zip64 = false, const std::string& comment = "") {
  std::string out, directory;
  for (const Member& m : members) {
    const size_t at = out.size();
    const std::string size = le(m.data.size(), 4), all = std::string(4, '\xff');
    const std::string head = le(0, 2) + le(m.flags, 2) + le(m.method, 2) + le(0, 8);
    out += "PK\x03\x04" + head + size + size + le(m.name.size(), 2) + le(0, 2) + m.name + m.data;
    const std::string extra =
        zip64 ? le(1, 2) + le(24, 2) + le(m.data.size(), 8) + le(m.data.size(), 8) + le(at, 8) : std::string();
    directory += "PK\x01\x02" + le(0, 2) + head + (zip64 ? all + all : size + size) + le(m.name.size(), 2) +
                 le(extra.size(), 2) + le(0, 2) + le(0, 8) + (zip64 ? all : le(at, 4)) + m.name + extra;
  }
  const size_t begin = out.size();
  out += directory;
  const size_t end64 = out.size();
  if (zip64)
    out += "PK\x06\x06" + le(44, 8) + le(0, 12) + le(members.size(), 8) + le(members.size(), 8) + le(directory.size(), 8) +
           le(begin, 8) + "PK\x06\x07" + le(0, 4) + le(end64, 8) + le(1, 4);
  return out + "PK\x05\x06" + le(0, 4) + le(zip64 ? 0xffff : members.size(), 2) + le(zip64 ? 0xffff : members.size(), 2) +
         le(zip64 ? 0xffffffff : directory.size(), 4) + le(zip64 ? 0xffffffff : begin, 4) + le(comment.size(), 2) + comment;
}
inline std::string torch_zip(const std::string& ops, const Pairs& storages, bool zip64 = false,
                             const std::string& order = "little") {
  std::vector<Member> members = {{"m/data.pkl", stream(ops)}, {"m/byteorder", order}};
  for (const auto& [key, data] : storages) members.push_back({"m/data/" + key, data});
  members.push_back({"m/version", "3\n"});
  return zip(members, zip64);
}

struct PlainStorage {
  std::string key;
  uint64_t count;
  std::string data;
};
inline std::string torch_plain(const std::string& ops, const std::vector<PlainStorage>& storages,
                               const std::string& little = "\x88") {
  std::string keys = "](", data;
  for (const auto& s : storages) {
    keys += text(s.key);
    data += le(s.count, 8) + s.data;
  }
  return stream("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + stream(integer(1001)) +
         stream("}" + text("little_endian") + little + "s") + stream(ops) + stream(keys + "e") + data;
}
inline std::string floats(const std::vector<float>& values) {
  std::string out(values.size() * sizeof(float), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

}  // namespace microtome::testing
