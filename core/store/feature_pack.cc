#include "core/store/feature_pack.h"

#include <bit>
#include <cstring>

#include "core/base/status.h"

namespace microtome {
namespace {

constexpr uint8_t kVersion = 1;

class Writer {
 public:
  void whole(uint64_t v) {
    for (; v >= 0x80; v >>= 7) bytes.push_back(static_cast<uint8_t>(v | 0x80));
    bytes.push_back(static_cast<uint8_t>(v));
  }
  void integer(int64_t v) { whole(static_cast<uint64_t>(v) << 1 ^ static_cast<uint64_t>(v >> 63)); }
  template <class Bits>
  void bits(Bits v) {
    for (size_t i = 0; i < sizeof v; ++i) bytes.push_back(static_cast<uint8_t>(v >> 8 * i));
  }
  void text(const std::string& s) {
    whole(s.size());
    bytes.insert(bytes.end(), s.begin(), s.end());
  }
  std::vector<uint8_t> bytes;
};

class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  [[noreturn]] void bad() const { throw Error(StatusCode::kBadInput, "the bytes of a feature are damaged", where_, "restore the project file from a copy"); }
  uint8_t byte() {
    if (at_ >= bytes_.size()) bad();
    return bytes_[at_++];
  }
  uint64_t whole() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = byte();
      v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if ((b & 0x80) == 0) return v;
    }
    bad();
  }
  int64_t integer() {
    const uint64_t v = whole();
    return static_cast<int64_t>(v >> 1 ^ (~(v & 1) + 1));
  }
  // A list's length; each part takes `least` bytes or more.
  size_t length(size_t least) {
    const uint64_t n = whole();
    if (n > (bytes_.size() - at_) / least) bad();
    return static_cast<size_t>(n);
  }
  template <class Bits>
  Bits bits() {
    if (bytes_.size() - at_ < sizeof(Bits)) bad();
    Bits v = 0;
    for (size_t i = 0; i < sizeof v; ++i) v |= static_cast<Bits>(bytes_[at_++]) << 8 * i;
    return v;
  }
  std::string text() {
    const size_t n = length(1);
    std::string out(reinterpret_cast<const char*>(bytes_.data()) + at_, n);
    at_ += n;
    return out;
  }
  bool done() const { return at_ == bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  const std::string& where_;
};

template <class Pair>
void put_pairs(Writer& w, const std::vector<Pair>& pairs) {
  w.whole(pairs.size());
  for (const auto& [number, value] : pairs) {
    w.integer(number);
    w.bits(std::bit_cast<uint64_t>(value));
  }
}

template <class Pair>
void get_pairs(Reader& r, std::vector<Pair>& pairs) {
  pairs.resize(r.length(9));
  for (auto& [number, value] : pairs) {
    number = r.integer();
    value = std::bit_cast<double>(r.bits<uint64_t>());
  }
}

void put_example(Writer& w, const FeatureSet::Example& e) {
  w.text(e.band);
  w.integer(e.sequence);
  w.integer(e.position);
  w.integer(e.strongest);
  w.whole(e.ids.size());
  for (int64_t id : e.ids) w.integer(id);
  std::vector<uint8_t> mask((e.ids.size() + 7) / 8, 0);
  for (size_t i = 0; i < e.ids.size(); ++i)
    if (std::bit_cast<uint32_t>(e.activations[i]) != 0) mask[i / 8] |= static_cast<uint8_t>(1u << i % 8);
  w.bytes.insert(w.bytes.end(), mask.begin(), mask.end());
  for (float a : e.activations)
    if (std::bit_cast<uint32_t>(a) != 0) w.bits(std::bit_cast<uint32_t>(a));
}

FeatureSet::Example get_example(Reader& r) {
  FeatureSet::Example e;
  e.band = r.text();
  e.sequence = r.integer();
  e.position = r.integer();
  e.strongest = r.integer();
  e.ids.resize(r.length(1));
  for (int64_t& id : e.ids) id = r.integer();
  const int64_t n = static_cast<int64_t>(e.ids.size());
  if (n > 0 && (e.strongest < 0 || e.strongest >= n)) r.bad();
  std::vector<uint8_t> mask((e.ids.size() + 7) / 8);
  for (uint8_t& m : mask) m = r.byte();
  e.activations.resize(e.ids.size());
  for (size_t i = 0; i < e.ids.size(); ++i)
    e.activations[i] = mask[i / 8] >> i % 8 & 1 ? std::bit_cast<float>(r.bits<uint32_t>()) : 0.f;
  return e;
}

}  // namespace

std::vector<uint8_t> pack_feature(const FeatureSet::Feature& f, const std::string& where) {
  Writer w;
  w.bytes.push_back(kVersion);
  w.whole(f.histogram.size());
  for (int64_t n : f.histogram) w.integer(n);
  put_pairs(w, f.top_logits);
  put_pairs(w, f.bottom_logits);
  put_pairs(w, f.neighbours);
  put_pairs(w, f.coactive);
  w.whole(f.examples.size());
  for (const FeatureSet::Example& e : f.examples) {
    if (e.activations.size() != e.ids.size())
      throw Error(StatusCode::kInternal, "an example of feature " + std::to_string(f.index) + " has not as many activations as tokens", where);
    put_example(w, e);
  }
  return std::move(w.bytes);
}

void unpack_feature(std::span<const uint8_t> bytes, FeatureSet::Feature& f, const std::string& where) {
  Reader r(bytes, where);
  if (r.byte() != kVersion) throw Error(StatusCode::kUnsupported, "a feature is stored in a form this program does not know", where, "open it with a newer microtome");
  f.histogram.resize(r.length(1));
  for (int64_t& n : f.histogram) n = r.integer();
  get_pairs(r, f.top_logits);
  get_pairs(r, f.bottom_logits);
  get_pairs(r, f.neighbours);
  get_pairs(r, f.coactive);
  f.examples.resize(r.length(6));
  for (FeatureSet::Example& e : f.examples) e = get_example(r);
  if (!r.done()) r.bad();
}

}  // namespace microtome
