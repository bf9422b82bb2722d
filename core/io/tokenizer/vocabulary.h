// vocabulary.h — token ↔ id as "model.vocab" lists them in an object (BPE, WordPiece), and a search for the tokens that
// a text begins with.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/json.h"

namespace microtome::tok {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using TokenIds = std::unordered_map<std::string, uint32_t, StringHash, std::equal_to<>>;

struct Vocabulary {
  TokenIds ids;
  std::vector<const std::string*> tokens;   // by id, into `ids`; null where the vocabulary leaves one out

  // Throws Error(kBadInput) naming the entry: ids must be whole numbers that no two tokens share.
  static Vocabulary read(const Json& model, const std::string& where);
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  const std::string* token_of(int64_t id) const {
    return id < 0 || id >= size() ? nullptr : tokens[static_cast<size_t>(id)];
  }
  int64_t size() const { return static_cast<int64_t>(tokens.size()); }   // largest id + 1
};

// A prefix tree over bytes. Immutable once filled.
class TokenTree {
 public:
  TokenTree();
  // Empty tokens are in no tree; of twins the last one holds.
  void add(std::string_view token, uint32_t id);
  // found(bytes, id) for each token that text begins with at `at`, short ones first. Looks at no more bytes than the
  // longest token has.
  template <class F>
  void prefixes(std::string_view text, size_t at, F&& found) const {
    uint32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (ids_[node] != kNone) found(i + 1 - at, ids_[node]);
    }
  }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  size_t slot(uint64_t key) const;
  uint32_t child(uint32_t node, uint8_t byte) const {
    if (node == 0) return first_[byte];
    const uint64_t key = uint64_t{node} << 8 | byte;
    for (size_t i = slot(key); keys_[i] != kEmpty; i = (i + 1) & (keys_.size() - 1))
      if (keys_[i] == key) return children_[i];
    return 0;
  }
  void link(uint64_t key, uint32_t node);
  std::vector<uint32_t> ids_;                    // by node; 0 is the root
  std::array<uint32_t, 256> first_{};            // the root's children
  std::vector<uint64_t> keys_;                   // (node, byte), open addressing, at most half full
  std::vector<uint32_t> children_;
  size_t links_ = 0;
};

}  // namespace microtome::tok
