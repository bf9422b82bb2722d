// word_tokenizer.h — a tokenizer small enough to see through: words with the space before them, two-digit numbers and
// single characters. What is not in its list is cut into characters.
#pragma once

#include <cctype>
#include <map>
#include <string>
#include <vector>

#include "core/io/tokenizer.h"

namespace microtome::testing {

class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(const std::vector<std::string>& words, bool has_bos = true, bool adds_bos = false)
      : has_bos_(has_bos), adds_bos_(adds_bos) {
    add("<s>");
    for (int c = 1; c < 128; ++c) add(std::string(1, static_cast<char>(c)));
    for (const std::string& w : words) add(w);
  }

  Encoding encode(std::string_view text, bool add_special = true) const override {
    Encoding e;
    if (add_special && adds_bos_) push(e, "<s>", 0, 0);
    for (size_t i = 0; i < text.size();) {
      size_t end = i + (text[i] == ' ' && i + 1 < text.size() ? 1 : 0);
      const auto kind = [&](size_t k) { return std::isalpha(static_cast<unsigned char>(text[k])) != 0; };
      const size_t start = end;
      if (kind(start)) {
        while (end < text.size() && kind(end)) ++end;
      } else if (std::isdigit(static_cast<unsigned char>(text[start]))) {
        while (end < text.size() && end < start + 2 && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
      } else {
        ++end;
      }
      const std::string piece(text.substr(i, end - i));
      if (ids_.count(piece)) {
        push(e, piece, i, end);
      } else {
        for (size_t k = i; k < end; ++k) push(e, std::string(1, text[k]), k, k + 1);
      }
      i = end;
    }
    return e;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override {
    std::string out;
    for (int64_t id : ids) out += piece(id);
    return out;
  }
  std::string piece(int64_t id) const override { return pieces_.at(static_cast<size_t>(id)); }
  std::string display(int64_t id) const override { return piece(id); }
  std::optional<int64_t> id_of(std::string_view piece) const override {
    const auto it = ids_.find(std::string(piece));
    return it == ids_.end() ? std::nullopt : std::optional<int64_t>(it->second);
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  std::optional<int64_t> bos_id() const override { return has_bos_ ? std::optional<int64_t>(0) : std::nullopt; }
  std::optional<int64_t> eos_id() const override { return std::nullopt; }
  bool adds_bos() const override { return adds_bos_; }
  const std::string& hash() const override { return hash_; }

 private:
  void add(const std::string& piece) {
    if (ids_.emplace(piece, static_cast<int64_t>(pieces_.size())).second) pieces_.push_back(piece);
  }
  void push(Encoding& e, const std::string& piece, size_t begin, size_t end) const {
    e.ids.push_back(ids_.at(piece));
    e.pieces.push_back(piece);
    e.offsets.emplace_back(static_cast<int64_t>(begin), static_cast<int64_t>(end));
  }

  bool has_bos_, adds_bos_;
  std::vector<std::string> pieces_;
  std::map<std::string, int64_t> ids_;
  std::string hash_ = "word tokenizer";
};

}  // namespace microtome::testing
