#include "core/io/tokenizer/hf_tokenizer.h"

#include <algorithm>

#include "core/base/sha256.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

// Longer words rarely come twice.
constexpr size_t kMaxRememberedWord = 64;

const Json& field(const Json& object, const char* key) {
  static const Json kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

// Byte offsets of a text to offsets in code points, rounding down inside a character.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text) : size_(text.size()) {
    if (std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; })) return;
    index_.resize(text.size() + 1);
    uint32_t count = 0;
    for (size_t i = 0; i < text.size();) {
      const size_t n = utf8_width(text[i]);
      for (size_t k = 0; k < n; ++k) index_[i + k] = count;
      ++count;
      i += n;
    }
    index_[text.size()] = count;
  }
  int64_t at(size_t byte) const {
    byte = std::min(byte, size_);
    return index_.empty() ? static_cast<int64_t>(byte) : index_[byte];
  }

 private:
  size_t size_;
  std::vector<uint32_t> index_;   // empty: all ASCII
};

}  // namespace

HfTokenizer::HfTokenizer(std::string_view json_text, const std::string& where, const SpecialNames& names)
    : where_(where) {
  const Json root = parse_json(json_text, where).value();
  if (!root.is_object()) throw Error(StatusCode::kBadInput, "tokenizer.json must hold an object", where);
  model_ = make_model(field(root, "model"), where);
  normalizer_ = make_normalizer(field(root, "normalizer"), where + ": normalizer");
  added_ = std::make_unique<AddedTokens>(field(root, "added_tokens"), *model_, normalizer_.get(), where);
  pre_tokenizer_ = make_pre_tokenizer(field(root, "pre_tokenizer"), where + ": pre_tokenizer");
  vocab_size_ = std::max(model_->size(), added_->size());
  post_processor_ = make_post_processor(field(root, "post_processor"), vocab_size_, where + ": post_processor");
  decoder_ = make_decoder(field(root, "decoder"), where + ": decoder");

  bos_ = named(names.bos, names.bos_id);
  eos_ = named(names.eos, names.eos_id);
  const std::optional<int64_t> first = post_processor_ ? post_processor_->first_special() : std::nullopt;
  // A lone tokenizer.json names no start token; the one that its template puts in front is it.
  if (!names.bos_known && first) bos_ = first;
  adds_bos_ = first.has_value() && first == bos_;

  Sha256 sha;
  sha.update(json_text);
  for (const auto& id : {bos_, eos_}) {
    const std::string* name = id ? spelling(*id) : nullptr;
    sha.update(std::string_view("\0", 1));
    if (name != nullptr) sha.update(*name);
  }
  hash_ = sha.hex();
}

std::optional<int64_t> HfTokenizer::named(const std::optional<std::string>& name,
                                          const std::optional<int64_t>& id) const {
  if (name) return id_of(*name);
  if (id && *id >= 0 && *id < vocab_size_ && spelling(*id) != nullptr) return id;
  return std::nullopt;
}

const std::string* HfTokenizer::spelling(int64_t id) const {
  if (const AddedToken* added = added_->by_id(id)) return &added->content;
  return model_->token_of(id);
}

void HfTokenizer::check_id(int64_t id) const {
  if (id < 0 || id >= vocab_size_) {
    throw Error(StatusCode::kBadInput,
                "the token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab_size_),
                where_, "ids run from 0 to " + std::to_string(vocab_size_ - 1));
  }
}

PreTokenized HfTokenizer::words(std::string_view text, const Budget& budget) const {
  PreTokenized words;
  words.text.reserve(text.size() + text.size() / 8);
  words.align.reserve(text.size() + text.size() / 8);
  for (const AddedSpan& span : added_->find(text, false, budget)) {
    AlignedText part(text.substr(span.begin, span.end - span.begin), static_cast<uint32_t>(span.begin));
    if (span.id >= 0) {
      words.append(part, 0, part.text.size(), span.id);
      continue;
    }
    if (normalizer_) normalizer_->apply(part, budget);
    for (const AddedSpan& inner : added_->find(part.text, true, budget)) {
      words.append(part, inner.begin, inner.end, inner.id);
    }
  }
  if (pre_tokenizer_) pre_tokenizer_->apply(words, budget);
  return words;
}

Encoding HfTokenizer::encode(std::string_view text, bool add_special) const {
  check_text(text);
  const Budget budget(text.size());
  const PreTokenized words = this->words(text, budget);
  const CodePoints code_points(text);
  Encoding out;
  const auto emit = [&](int64_t id, size_t begin, size_t end) {
    out.ids.push_back(id);
    out.pieces.push_back(*spelling(id));
    out.offsets.emplace_back(code_points.at(words.align[begin].begin), code_points.at(words.align[end - 1].end));
  };
  std::vector<ModelToken> tokens;
  // Where in `tokens` a word stands that was met before in this text.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> seen;
  for (const Split& s : words.splits) {
    if (s.token >= 0) {
      emit(s.token, s.begin, s.end);
      continue;
    }
    const std::string_view word = words.view(s);
    std::pair<size_t, size_t> range;
    const auto known = word.size() <= kMaxRememberedWord ? seen.find(word) : seen.end();
    if (known != seen.end()) {
      range = known->second;
    } else {
      range.first = tokens.size();
      model_->tokenize(word, tokens);
      range.second = tokens.size();
      if (word.size() <= kMaxRememberedWord) seen.emplace(word, range);
    }
    for (size_t i = range.first; i < range.second; ++i) {
      // A suffix spelt in bytes makes tokens longer than the word they come from.
      const size_t begin = std::min(s.begin + tokens[i].begin, s.end - 1);
      const size_t end = std::clamp(s.begin + tokens[i].end, begin + 1, s.end);
      emit(tokens[i].id, begin, end);
      if (tokens[i].as_text) out.pieces.back() = words.text.substr(begin, end - begin);
    }
  }
  if (post_processor_) post_processor_->apply(out, add_special);
  return out;
}

std::string HfTokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  size_t bytes = 0;
  for (int64_t id : ids) {
    check_id(id);
    const AddedToken* added = added_->by_id(id);
    if (skip_special && added != nullptr && added->special) continue;
    const std::string* s = added != nullptr ? &added->content : model_->token_of(id);
    if (s == nullptr) continue;   // the vocabulary leaves this id out
    bytes += s->size();
    pieces.push_back(*s);
  }
  std::string out;
  if (decoder_) {
    decoder_->apply(pieces, Budget(bytes));
    for (const std::string& p : pieces) out += p;
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) out += (i > 0 ? " " : "") + pieces[i];
  }
  return out;
}

std::string HfTokenizer::piece(int64_t id) const {
  check_id(id);
  const std::string* s = spelling(id);
  return s == nullptr ? std::string() : *s;
}

// Decoded behind another token, so that a decoder which strips the text's first space leaves this one's alone.
std::string HfTokenizer::display(int64_t id) const {
  check_id(id);
  const std::string alone = decode({id}, false);
  const std::vector<int64_t> before = encode("a", false).ids;
  if (before.empty()) return alone;
  std::vector<int64_t> both = before;
  both.push_back(id);
  const std::string head = decode(before, false), all = decode(both, false);
  return all.starts_with(head) ? all.substr(head.size()) : alone;
}

std::optional<int64_t> HfTokenizer::id_of(std::string_view piece) const {
  const auto added = added_->id_of(piece);
  return added ? added : model_->id_of(piece);
}

}  // namespace microtome::tok
