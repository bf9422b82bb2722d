#include "core/io/tokenizer/added_tokens.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/base/quote.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

constexpr size_t kMaxAddedTokens = 1 << 20;
// Bounds the work at one position of a text.
constexpr size_t kMaxAddedTokenBytes = 1024;
// Bounds the memory of the finders: each byte may cost a node.
constexpr size_t kMaxAddedBytes = size_t{8} << 20;

AddedToken read_token(const Json& entry, const std::string& here) {
  if (!entry.is_object()) throw Error(StatusCode::kBadInput, "this must be an object", here);
  AddedToken t;
  t.id = json_int(entry, "id", here);
  t.content = json_string(entry, "content", here);
  t.single_word = json_bool(entry, "single_word", false, here);
  t.lstrip = json_bool(entry, "lstrip", false, here);
  t.rstrip = json_bool(entry, "rstrip", false, here);
  t.special = json_bool(entry, "special", false, here);
  t.normalized = json_bool(entry, "normalized", !t.special, here);
  if (t.id < 0 || t.id > kMaxTokenId) {
    throw Error(StatusCode::kBadInput, "field 'id' must be from 0 to " + std::to_string(kMaxTokenId), here);
  }
  if (t.content.size() > kMaxAddedTokenBytes) {
    throw Error(StatusCode::kBadInput, "field 'content' is " + std::to_string(t.content.size()) + " bytes long", here,
                "at most " + std::to_string(kMaxAddedTokenBytes) + " are read");
  }
  return t;
}

}  // namespace

void StringFinder::add(std::string_view text, size_t value) {
  if (text.empty()) return;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    uint32_t child = i == 0 ? first_[byte] : child_of(node, byte);
    if (child == 0) {
      child = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      if (i == 0) {
        first_[byte] = child;
      } else if (nodes_[node].child == 0) {
        nodes_[node].child = child;
        nodes_[node].byte = byte;
      } else {
        nodes_[node].has_more = true;
        more_[(uint64_t{node} << 8) | byte] = child;
      }
    }
    node = child;
  }
  nodes_[node].value = static_cast<int64_t>(value);
}

uint32_t StringFinder::child_of(uint32_t node, unsigned char byte) const {
  const Node& n = nodes_[node];
  if (n.byte == byte) return n.child;
  if (!n.has_more) return 0;
  const auto it = more_.find((uint64_t{node} << 8) | byte);
  return it == more_.end() ? 0 : it->second;
}

size_t StringFinder::longest_at(std::string_view text, size_t at, size_t* value) const {
  uint32_t node = first_[static_cast<unsigned char>(text[at])];
  size_t best = 0;
  for (size_t i = at; node != 0;) {
    ++i;
    if (nodes_[node].value >= 0) {
      best = i - at;
      *value = static_cast<size_t>(nodes_[node].value);
    }
    if (i >= text.size()) break;
    node = child_of(node, static_cast<unsigned char>(text[i]));
  }
  return best;
}

AddedTokens::AddedTokens(const Json& list, const TokenModel& model, const Normalizer* normalizer,
                         const std::string& where) {
  if (list.is_null()) return;
  if (!list.is_array() || list.size() > kMaxAddedTokens) {
    throw Error(StatusCode::kBadInput,
                "field 'added_tokens' must be a list of at most " + std::to_string(kMaxAddedTokens) + " entries",
                where);
  }
  size_t index = 0, bytes = 0;
  for (const Json& entry : list) {
    const std::string here = where + ": added_tokens[" + std::to_string(index++) + "]";
    AddedToken t = read_token(entry, here);
    if (t.content.empty()) continue;
    if ((bytes += t.content.size()) > kMaxAddedBytes) {
      throw Error(StatusCode::kBadInput,
                  "the added tokens are longer than " + std::to_string(kMaxAddedBytes) + " bytes together", here);
    }
    if (const auto id = model.id_of(t.content); id && *id != t.id) {
      log_warning("the added token " + in_quotes(t.content) + " has the id " + std::to_string(t.id) +
                  " but the vocabulary gives it " + std::to_string(*id) + ", which holds (" + here + ")");
      t.id = *id;
    } else if (const std::string* other = model.token_of(t.id); !id && other != nullptr) {
      throw Error(StatusCode::kBadInput,
                  "the id " + std::to_string(t.id) + " is that of " + in_quotes(*other) + " in the vocabulary", here);
    }
    if (const auto same = by_content_.find(t.content); same != by_content_.end()) {
      if (tokens_[same->second].id != t.id) {
        throw Error(StatusCode::kBadInput, "the token " + in_quotes(t.content) + " is there twice with different ids",
                    here);
      }
      tokens_[same->second] = std::move(t);   // the last one holds
      continue;
    }
    if (const AddedToken* other = by_id(t.id)) {
      throw Error(StatusCode::kBadInput,
                  "the id " + std::to_string(t.id) + " is also that of " + in_quotes(other->content), here);
    }
    by_id_[t.id] = by_content_[t.content] = tokens_.size();
    size_ = std::max(size_, t.id + 1);
    tokens_.push_back(std::move(t));
  }
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].normalized) {
      raw_.add(tokens_[i].content, i);
      continue;
    }
    AlignedText text(tokens_[i].content, 0);
    if (normalizer != nullptr) normalizer->apply(text, Budget(text.text.size()));
    if (text.text.size() > 4 * kMaxAddedTokenBytes || (bytes += text.text.size()) > 4 * kMaxAddedBytes) {
      throw Error(StatusCode::kBadInput, "the token " + in_quotes(tokens_[i].content) + " is too long once normalised",
                  where + ": added_tokens[" + std::to_string(i) + "]");
    }
    normalized_.add(text.text, i);
  }
}

std::vector<AddedSpan> AddedTokens::find(std::string_view text, bool normalized, const Budget& budget) const {
  const StringFinder& finder = normalized ? normalized_ : raw_;
  std::vector<AddedSpan> spans;
  if (text.empty()) return spans;
  size_t covered = 0;
  for (size_t at = finder.empty() ? text.size() : 0; at < text.size();) {
    if (at % 4096 == 0) budget.check_time();
    size_t which = 0;
    const size_t n = finder.longest_at(text, at, &which);
    if (n == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[which];
    size_t begin = at, end = at + n;
    at = end;
    if (token.single_word) {
      const bool word_before = begin > 0 && is_word_char(code_point_at(text.data() + previous_char(text, begin)));
      const bool word_after = end < text.size() && is_word_char(code_point_at(text.data() + end));
      if (word_before || word_after) continue;
    }
    if (token.lstrip) {
      size_t p = begin;
      while (p > covered) {
        const size_t q = previous_char(text, p);
        if (q < covered || !is_white_space(code_point_at(text.data() + q))) break;
        p = q;
      }
      begin = p;
    }
    if (token.rstrip) {
      while (end < text.size() && is_white_space(code_point_at(text.data() + end))) end += utf8_width(text[end]);
    }
    if (covered < begin) spans.push_back({covered, begin, -1});
    spans.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) spans.push_back({covered, text.size(), -1});
  return spans;
}

const AddedToken* AddedTokens::by_id(int64_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

std::optional<int64_t> AddedTokens::id_of(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? std::nullopt : std::optional<int64_t>(tokens_[it->second].id);
}

}  // namespace microtome::tok
