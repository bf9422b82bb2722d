#include "core/io/tokenizer/vocabulary.h"

#include "core/base/quote.h"
#include "core/io/tokenizer/token_model.h"

namespace microtome::tok {

Vocabulary Vocabulary::read(const Json& model, const std::string& where) {
  const auto it = model.find("vocab");
  if (it == model.end() || !it->is_object()) {
    throw Error(StatusCode::kBadInput, "field 'model.vocab' must be an object", where);
  }
  if (it->size() > kMaxVocabularySize) {
    throw Error(StatusCode::kBadInput, "field 'model.vocab' has " + std::to_string(it->size()) + " entries", where,
                "at most " + std::to_string(kMaxVocabularySize) + " are read");
  }
  Vocabulary out;
  out.ids.reserve(it->size());
  for (const auto& [token, value] : it->items()) {
    const std::string field = "model.vocab[" + in_quotes(token) + "]";
    if (!value.is_number_integer() || value.template get<int64_t>() < 0 || value.template get<int64_t>() > kMaxTokenId) {
      throw Error(StatusCode::kBadInput, field + " must be a whole number from 0 to " + std::to_string(kMaxTokenId),
                  where);
    }
    if (token.size() > kMaxTokenBytes) {
      throw Error(StatusCode::kBadInput, field + " is a token of " + std::to_string(token.size()) + " bytes", where);
    }
    const auto id = value.template get<uint32_t>();
    const auto [entry, fresh] = out.ids.emplace(token, id);
    if (!fresh) throw Error(StatusCode::kBadInput, field + " is there twice", where);
    if (id >= out.tokens.size()) out.tokens.resize(id + 1, nullptr);
    if (out.tokens[id] != nullptr) {
      throw Error(StatusCode::kBadInput,
                  field + " has the id " + std::to_string(id) + ", which is also that of " + in_quotes(*out.tokens[id]),
                  where);
    }
    out.tokens[id] = &entry->first;   // nodes of an unordered_map stay where they are, moved or not
  }
  return out;
}

TokenTree::TokenTree() : ids_(1, kNone), keys_(64, kEmpty), children_(64) {}

size_t TokenTree::slot(uint64_t x) const {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return (x ^ (x >> 31)) & (keys_.size() - 1);
}

void TokenTree::link(uint64_t key, uint32_t node) {
  if (2 * (links_ + 1) > keys_.size()) {
    std::vector<uint64_t> keys(2 * keys_.size(), kEmpty);
    std::vector<uint32_t> children(keys.size());
    keys.swap(keys_);
    children.swap(children_);
    links_ = 0;
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys[i] != kEmpty) link(keys[i], children[i]);
  }
  size_t i = slot(key);
  while (keys_[i] != kEmpty) i = (i + 1) & (keys_.size() - 1);
  keys_[i] = key;
  children_[i] = node;
  ++links_;
}

void TokenTree::add(std::string_view token, uint32_t id) {
  if (token.empty()) return;
  uint32_t node = 0;
  for (const char c : token) {
    const auto byte = static_cast<uint8_t>(c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(ids_.size());
      ids_.push_back(kNone);
      if (node == 0) first_[byte] = next;
      else link(uint64_t{node} << 8 | byte, next);
    }
    node = next;
  }
  ids_[node] = id;
}

}  // namespace microtome::tok
