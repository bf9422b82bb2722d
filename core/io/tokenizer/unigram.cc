// Unigram language model of subwords (Kudo 2018, arXiv 1804.10959): of all ways to spell a word in pieces, the one whose
// scores (log probabilities) sum highest, found by dynamic programming over the ends of pieces.
#include <algorithm>
#include <limits>

#include "core/base/quote.h"
#include "core/io/tokenizer/token_model.h"
#include "core/io/tokenizer/unicode_text.h"
#include "core/io/tokenizer/vocabulary.h"

namespace microtome::tok {
namespace {

constexpr double kUnknownPenalty = 10;      // an unknown character scores this less than the worst piece
constexpr size_t kMaxPieceBytes = 4096;     // a word costs its length times the longest piece

class Unigram : public TokenModel {
 public:
  Unigram(const Json& spec, const std::string& where) : where_(where) {
    const std::string here = where + ": model";
    read_pieces(spec, where);
    byte_fallback_ = json_bool(spec, "byte_fallback", false, here);
    unknown_ = json_int(spec, "unk_id", -1, here);
    if (unknown_ < -1 || (unknown_ >= 0 && unknown_ >= size()))
      throw Error(StatusCode::kBadInput, "field 'unk_id' is " + std::to_string(unknown_) + ", the vocabulary has " +
                  std::to_string(size()) + " pieces", here);
    static constexpr char kHex[] = "0123456789ABCDEF";
    for (size_t b = 0; b < 256; ++b) {
      const auto it = ids_.find(std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">");
      byte_ids_[b] = it == ids_.end() ? -1 : static_cast<int64_t>(it->second);
    }
  }

  void tokenize(std::string_view word, std::vector<ModelToken>& out) const override {
    std::vector<Node> best(word.size() + 1);
    for (size_t at = 0; at < word.size();) {
      const size_t width = utf8_width(word[at]);
      const double here = best[at].score;
      bool covered = false;      // a piece is exactly this character
      tree_.prefixes(word, at, [&](size_t bytes, uint32_t id) {
        offer(best[at + bytes], at, id, here + scores_[id]);
        covered = covered || bytes == width;
      });
      if (!covered) {
        if (unknown_ < 0)
          throw Error(StatusCode::kBadInput, "the character " + in_quotes(word.substr(at, width)) +
                      " is in no piece, and the tokenizer has no unknown piece", where_ + ": model.unk_id");
        offer(best[at + width], at, static_cast<uint32_t>(unknown_), here + lowest_ - kUnknownPenalty);
      }
      at += width;
    }
    std::vector<ModelToken> path;      // from the end
    for (size_t end = word.size(); end > 0; end = best[end].start) {
      const Node& n = best[end];
      // Unknowns in a row are one token.
      if (n.id == unknown_ && !path.empty() && path.back().id == unknown_) path.back().begin = n.start;
      else path.push_back({static_cast<int64_t>(n.id), n.start, end});
    }
    for (auto t = path.rbegin(); t != path.rend(); ++t) {
      if (t->id == unknown_) add_unknown(word, *t, out);
      else out.push_back(*t);
    }
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto it = ids_.find(token);
    return it == ids_.end() ? std::nullopt : std::optional<int64_t>(it->second);
  }
  const std::string* token_of(int64_t id) const override {
    return id < 0 || id >= size() ? nullptr : &pieces_[static_cast<size_t>(id)];
  }
  int64_t size() const override { return static_cast<int64_t>(pieces_.size()); }

 private:
  struct Node {
    double score = 0;
    uint32_t start = kNowhere, id = 0;
  };
  static constexpr uint32_t kNowhere = std::numeric_limits<uint32_t>::max();

  // Of equal scores the first found stays, as in the reference.
  static void offer(Node& end, size_t start, uint32_t id, double score) {
    if (end.start == kNowhere || score > end.score) end = {score, static_cast<uint32_t>(start), id};
  }

  // The text of an unknown may be a piece after all (several unknown characters that are one); else it becomes its bytes,
  // where all of them have pieces.
  void add_unknown(std::string_view word, ModelToken t, std::vector<ModelToken>& out) const {
    const std::string_view text = word.substr(t.begin, t.end - t.begin);
    const auto id_of_byte = [this](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    if (const auto it = ids_.find(text); it != ids_.end()) {
      t.id = it->second;
    } else if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) { return id_of_byte(c) >= 0; })) {
      for (const char c : text) out.push_back({id_of_byte(c), t.begin, t.end});
      return;
    } else {
      t.as_text = true;
    }
    out.push_back(t);
  }

  // [["piece", score], …]: an id is a place in the list.
  void read_pieces(const Json& spec, const std::string& where) {
    const auto it = spec.find("vocab");
    if (it == spec.end() || !it->is_array()) {
      throw Error(StatusCode::kBadInput, "field 'model.vocab' must be a list of [piece, score]", where);
    }
    if (it->size() > kMaxVocabularySize) {
      throw Error(StatusCode::kBadInput, "field 'model.vocab' has " + std::to_string(it->size()) + " entries", where,
                  "at most " + std::to_string(kMaxVocabularySize) + " are read");
    }
    pieces_.reserve(it->size());
    for (const Json& entry : *it) {
      const std::string field = "model.vocab[" + std::to_string(pieces_.size()) + "]";
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
        throw Error(StatusCode::kBadInput, field + " must be [piece, score]", where);
      }
      const auto& piece = entry[0].get_ref<const std::string&>();
      if (piece.size() > kMaxPieceBytes) {
        throw Error(StatusCode::kBadInput, field + " is a piece of " + std::to_string(piece.size()) + " bytes", where,
                    "at most " + std::to_string(kMaxPieceBytes) + " are read");
      }
      const auto id = static_cast<uint32_t>(pieces_.size());
      pieces_.push_back(piece);
      scores_.push_back(entry[1].get<double>());
      lowest_ = std::min(lowest_, scores_.back());
      ids_.insert_or_assign(piece, id);      // of twins the last one holds, as in the reference
      tree_.add(piece, id);
    }
  }

  std::string where_;
  TokenIds ids_;
  TokenTree tree_;
  std::vector<std::string> pieces_;
  std::vector<double> scores_;
  double lowest_ = std::numeric_limits<double>::infinity();
  int64_t unknown_ = -1;
  bool byte_fallback_ = false;
  std::array<int64_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram(const Json& spec, const std::string& where) {
  return std::make_unique<Unigram>(spec, where);
}

}  // namespace microtome::tok
