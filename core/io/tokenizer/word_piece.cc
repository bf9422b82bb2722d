// WordPiece as BERT uses it (Devlin et al. 2019, arXiv 1810.04805): from the left the longest token each time; a word
// that cannot be spelt to its end is unknown as a whole.
#include <algorithm>

#include "core/base/quote.h"
#include "core/io/tokenizer/token_model.h"
#include "core/io/tokenizer/unicode_text.h"
#include "core/io/tokenizer/vocabulary.h"

namespace microtome::tok {
namespace {

class WordPiece : public TokenModel {
 public:
  WordPiece(const Json& spec, const std::string& where) : where_(where), vocabulary_(Vocabulary::read(spec, where)) {
    const std::string here = where + ": model";
    unknown_ = json_string(spec, "unk_token", "[UNK]", here);
    const std::string prefix = json_string(spec, "continuing_subword_prefix", "##", here);
    max_chars_ = json_int(spec, "max_input_chars_per_word", 100, here);
    if (max_chars_ < 0)
      throw Error(StatusCode::kBadInput, "field 'max_input_chars_per_word' is " + std::to_string(max_chars_) +
                  ", expected an integer from 0 on", here);
    for (const auto& [token, id] : vocabulary_.ids) {
      start_.add(token, id);
      if (token.starts_with(prefix)) inside_.add(std::string_view(token).substr(prefix.size()), id);
    }
  }

  void tokenize(std::string_view word, std::vector<ModelToken>& out) const override {
    const size_t first = out.size();
    const bool fits = std::count_if(word.begin(), word.end(), [](char c) { return !is_continuation(c); }) <= max_chars_;
    size_t at = 0;
    while (fits && at < word.size()) {
      size_t longest = 0;
      uint32_t id = 0;
      (at == 0 ? start_ : inside_).prefixes(word, at, [&](size_t bytes, uint32_t token) {
        longest = bytes;
        id = token;
      });
      if (longest == 0) break;
      out.push_back({static_cast<int64_t>(id), at, at + longest});
      at += longest;
    }
    if (at == word.size()) return;
    out.resize(first);
    out.push_back({unknown_id(), 0, word.size()});
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto it = vocabulary_.ids.find(token);
    return it == vocabulary_.ids.end() ? std::nullopt : std::optional<int64_t>(it->second);
  }
  const std::string* token_of(int64_t id) const override { return vocabulary_.token_of(id); }
  int64_t size() const override { return vocabulary_.size(); }

 private:
  int64_t unknown_id() const {
    const auto id = id_of(unknown_);
    if (!id)
      throw Error(StatusCode::kBadInput, "the text needs the unknown token " + in_quotes(unknown_) +
                  ", which is not in the vocabulary", where_ + ": model.unk_token");
    return *id;
  }

  std::string where_, unknown_;
  Vocabulary vocabulary_;
  TokenTree start_, inside_;      // tokens as a word begins with them, and without their prefix as it goes on
  int64_t max_chars_ = 100;
};

}  // namespace

std::unique_ptr<TokenModel> make_word_piece(const Json& spec, const std::string& where) {
  return std::make_unique<WordPiece>(spec, where);
}

}  // namespace microtome::tok
