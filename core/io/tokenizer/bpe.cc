#include <algorithm>
#include <array>
#include <queue>

#include "core/base/quote.h"
#include "core/io/tokenizer/token_model.h"
#include "core/io/tokenizer/unicode_text.h"
#include "core/io/tokenizer/vocabulary.h"

namespace microtome::tok {
namespace {

constexpr size_t kMaxMerges = size_t{8} << 20;

struct Merge {
  uint32_t rank = 0, result = 0;
};

// (left id, right id) → merge, by open addressing: this is the inner loop of encoding.
class MergeTable {
 public:
  explicit MergeTable(size_t count) {
    size_t size = 16;
    while (size < 2 * count) size *= 2;
    keys_.assign(size, kEmpty);
    values_.resize(size);
  }
  void set(uint32_t left, uint32_t right, Merge merge) {
    const uint64_t key = key_of(left, right);
    size_t i = slot(key);
    while (keys_[i] != kEmpty && keys_[i] != key) i = (i + 1) & (keys_.size() - 1);
    keys_[i] = key;
    values_[i] = merge;
  }
  const Merge* find(uint32_t left, uint32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot(key); keys_[i] != kEmpty; i = (i + 1) & (keys_.size() - 1)) {
      if (keys_[i] == key) return &values_[i];
    }
    return nullptr;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};   // no pair: ids are below 2^24
  static uint64_t key_of(uint32_t left, uint32_t right) { return (uint64_t{left} << 32) | right; }
  size_t slot(uint64_t x) const {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return (x ^ (x >> 31)) & (keys_.size() - 1);
  }
  std::vector<uint64_t> keys_;
  std::vector<Merge> values_;
};

struct Symbol {
  uint32_t id;
  int32_t previous, next;
  uint32_t size;   // bytes; 0 once merged away
};

struct Candidate {
  uint32_t rank, position, result;
  bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : position > o.position; }
};

class Bpe : public TokenModel {
 public:
  Bpe(const Json& spec, const std::string& where) : merges_(merge_count(spec, where)) {
    vocabulary_ = Vocabulary::read(spec, where);
    const std::string here = where + ": model";
    prefix_ = json_string(spec, "continuing_subword_prefix", "", here);
    suffix_ = json_string(spec, "end_of_word_suffix", "", here);
    unknown_ = json_string(spec, "unk_token", "", here);
    fuse_unknown_ = json_bool(spec, "fuse_unk", false, here);
    byte_fallback_ = json_bool(spec, "byte_fallback", false, here);
    ignore_merges_ = json_bool(spec, "ignore_merges", false, here);
    if (json_float(spec, "dropout", 0.0, here) != 0.0) {
      throw Error(StatusCode::kUnsupported, "field 'dropout' makes the tokens of a text random", here,
                  "set it to null");
    }
    where_ = where;
    read_merges(spec, where);
    static constexpr char kHex[] = "0123456789ABCDEF";
    for (size_t b = 0; b < 256; ++b) {
      const std::string name = std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">";
      const auto it = vocabulary_.ids.find(name);
      byte_ids_[b] = it == vocabulary_.ids.end() ? -1 : static_cast<int64_t>(it->second);
    }
  }

  void tokenize(std::string_view word, std::vector<ModelToken>& out) const override {
    if (ignore_merges_) {
      const auto it = vocabulary_.ids.find(word);
      if (it != vocabulary_.ids.end()) {
        out.push_back({it->second, 0, word.size()});
        return;
      }
    }
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    spell(word, symbols);
    merge(symbols);
    size_t at = 0;
    for (const Symbol& s : symbols) {
      if (s.size == 0) continue;
      out.push_back({s.id, at, at + s.size});
      at += s.size;
    }
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto it = vocabulary_.ids.find(token);
    return it == vocabulary_.ids.end() ? std::nullopt : std::optional<int64_t>(it->second);
  }
  const std::string* token_of(int64_t id) const override { return vocabulary_.token_of(id); }
  int64_t size() const override { return vocabulary_.size(); }

 private:
  static size_t merge_count(const Json& spec, const std::string& where) {
    const auto it = spec.find("merges");
    if (it == spec.end() || !it->is_array()) {
      throw Error(StatusCode::kBadInput, "field 'model.merges' must be a list", where);
    }
    if (it->size() > kMaxMerges) {
      throw Error(StatusCode::kBadInput, "field 'model.merges' has " + std::to_string(it->size()) + " entries", where,
                  "at most " + std::to_string(kMaxMerges) + " are read");
    }
    return it->size();
  }

  uint32_t require(std::string_view token, size_t index, const std::string& where) const {
    const auto it = vocabulary_.ids.find(token);
    if (it == vocabulary_.ids.end()) {
      throw Error(StatusCode::kBadInput,
                  "merges[" + std::to_string(index) + "]: " + in_quotes(token) + " is not in the vocabulary",
                  where, "the file is damaged or its parts do not belong together");
    }
    return it->second;
  }

  void read_merges(const Json& spec, const std::string& where) {
    uint32_t rank = 0;
    size_t index = 0;
    for (const Json& entry : spec.at("merges")) {
      std::string_view left, right;
      if (entry.is_string()) {
        const std::string& line = entry.get_ref<const std::string&>();
        if (line.starts_with("#version")) {   // the first line of an old merges.txt
          ++index;
          continue;
        }
        const size_t space = line.find(' ');
        if (space != line.npos && line.find(' ', space + 1) == line.npos) {
          left = std::string_view(line).substr(0, space);
          right = std::string_view(line).substr(space + 1);
        }
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        left = entry[0].get_ref<const std::string&>();
        right = entry[1].get_ref<const std::string&>();
      }
      if (left.empty() || right.empty()) {
        throw Error(StatusCode::kBadInput,
                    "merges[" + std::to_string(index) + "] must be \"left right\" or a list of two", where);
      }
      const uint32_t a = require(left, index, where), b = require(right, index, where);
      if (right.size() < prefix_.size()) {
        throw Error(StatusCode::kBadInput,
                    "merges[" + std::to_string(index) + "]: " + in_quotes(right) + " is shorter than the prefix " +
                        in_quotes(prefix_),
                    where);
      }
      const uint32_t result = require(std::string(left) + std::string(right.substr(prefix_.size())), index, where);
      merges_.set(a, b, {rank++, result});
      ++index;
    }
  }

  uint32_t unknown_id() const {
    const auto it = vocabulary_.ids.find(unknown_);
    if (it == vocabulary_.ids.end()) {
      throw Error(StatusCode::kBadInput,
                  "the text needs the unknown token " + in_quotes(unknown_) + ", which is not in the vocabulary",
                  where_ + ": model.unk_token");
    }
    return it->second;
  }

  // The word's characters as symbols. A character without a token becomes its bytes, the unknown token, or (where the
  // model has neither) nothing; the order of these steps is the reference's.
  void spell(std::string_view word, std::vector<Symbol>& out) const {
    const auto add = [&out](uint32_t id, size_t bytes) {
      const auto n = static_cast<int32_t>(out.size());
      if (n > 0) out.back().next = n;
      out.push_back({id, n - 1, -1, static_cast<uint32_t>(bytes)});
    };
    size_t pending = 0;   // bytes of an unknown token not yet added
    uint32_t pending_id = 0;
    std::string decorated;
    for (size_t i = 0; i < word.size();) {
      const size_t n = utf8_width(word[i]);
      std::string_view c = word.substr(i, n);
      const bool first = i == 0, last = i + n >= word.size();
      i += n;
      if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
        decorated = (first ? "" : prefix_) + std::string(c) + (last ? suffix_ : "");
        c = decorated;
      }
      const auto it = vocabulary_.ids.find(c);
      if (it != vocabulary_.ids.end()) {
        if (pending > 0) add(pending_id, pending);
        pending = 0;
        add(it->second, n);
        continue;
      }
      if (byte_fallback_ && std::all_of(c.begin(), c.end(), [this](char b) {
            return byte_ids_[static_cast<unsigned char>(b)] >= 0;
          })) {
        for (char b : c) add(static_cast<uint32_t>(byte_ids_[static_cast<unsigned char>(b)]), 1);
        continue;
      }
      if (unknown_.empty()) continue;
      if (pending > 0 && !fuse_unknown_) {
        add(pending_id, pending);
        pending = 0;
      }
      pending_id = unknown_id();
      pending += n;
    }
    if (pending > 0) add(pending_id, pending);
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::vector<Candidate> first;
    first.reserve(symbols.size());
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (const Merge* m = merges_.find(symbols[i].id, symbols[i + 1].id)) {
        first.push_back({m->rank, static_cast<uint32_t>(i), m->result});
      }
    }
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{}, std::move(first));
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[top.position];
      if (left.size == 0 || left.next < 0) continue;
      Symbol& right = symbols[static_cast<size_t>(left.next)];
      const Merge* still = merges_.find(left.id, right.id);
      if (still == nullptr || still->result != top.result) continue;   // one of the two has changed since
      left.id = top.result;
      left.size += right.size;
      left.next = right.next;
      right.size = 0;
      if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = static_cast<int32_t>(top.position);
      if (left.previous >= 0) {
        const auto p = static_cast<uint32_t>(left.previous);
        if (const Merge* m = merges_.find(symbols[p].id, left.id)) queue.push({m->rank, p, m->result});
      }
      if (left.next >= 0) {
        const Merge* m = merges_.find(left.id, symbols[static_cast<size_t>(left.next)].id);
        if (m != nullptr) queue.push({m->rank, top.position, m->result});
      }
    }
  }

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::string prefix_, suffix_, unknown_, where_;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
  std::array<int64_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<TokenModel> make_bpe(const Json& spec, const std::string& where) {
  return std::make_unique<Bpe>(spec, where);
}

}  // namespace microtome::tok
