#include "core/io/tokenizer/decoders.h"

#include "core/base/quote.h"
#include "core/io/tokenizer/byte_alphabet.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/pattern.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& pieces, const Budget& budget) const override {
    for (const auto& step : steps_) {
      step->apply(pieces, budget);
      budget.check_time();
    }
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

class ByteLevelDecoder : public Decoder {
 public:
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    std::string bytes;
    for (const std::string& piece : pieces) append_piece_bytes(bytes, piece);
    pieces.assign(1, utf8_lossy(bytes));
  }
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& pieces, const Budget& budget) const override {
    std::vector<Match> matches;
    size_t total = 0;
    for (std::string& piece : pieces) {
      pattern_.find_all(piece, budget, matches);
      if (!matches.empty()) {
        budget.check_size(total + piece.size() + matches.size() * content_.size());
        std::string out;
        size_t at = 0;
        for (const Match& m : matches) {
          out.append(piece, at, m.begin - at);
          out += content_;
          at = m.end;
        }
        out.append(piece, at);
        piece = std::move(out);
      }
      total += piece.size();
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// <0xE2> pieces in a row become the text they spell; when they spell none, each becomes U+FFFD.
class ByteFallbackDecoder : public Decoder {
 public:
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    std::vector<std::string> out;
    out.reserve(pieces.size());
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (find_invalid_utf8(bytes) == std::string_view::npos) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (std::string& piece : pieces) {
      const int byte = byte_of(piece);
      if (byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(piece));
    }
    flush();
    pieces = std::move(out);
  }

 private:
  static int byte_of(const std::string& piece) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    const auto digit = [](char c) {
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const int high = digit(piece[3]), low = digit(piece[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
  }
};

class FuseDecoder : public Decoder {
 public:
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces.assign(1, std::move(all));
  }
};

// Takes up to `start` and `stop` characters `content` off the two ends of each piece.
class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    for (std::string& piece : pieces) {
      std::string_view rest = piece;
      for (int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      if (rest.size() != piece.size()) piece = std::string(rest);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool prefix) : replacement_(std::move(replacement)), prefix_(prefix) {}
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    for (size_t i = 0; i < pieces.size(); ++i) {
      std::string out;
      size_t at = 0;
      for (size_t p = pieces[i].find(replacement_); p != std::string::npos; p = pieces[i].find(replacement_, at)) {
        out.append(pieces[i], at, p - at);
        if (i > 0 || !prefix_) out += ' ';
        at = p + replacement_.size();
      }
      out.append(pieces[i], at);
      pieces[i] = std::move(out);
    }
  }

 private:
  std::string replacement_;
  bool prefix_;
};

// Words get a space in front, continued ones lose their prefix; cleanup takes English spacing back, piece by piece.
class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& pieces, const Budget&) const override {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) {
        if (pieces[i].starts_with(prefix_)) pieces[i].erase(0, prefix_.size());
        else pieces[i].insert(0, 1, ' ');
      }
      if (!cleanup_) continue;
      for (const auto& [from, to] : kCleanup) replace_all(pieces[i], from, to);
    }
  }

 private:
  // In the reference's order.
  static constexpr std::pair<std::string_view, std::string_view> kCleanup[] = {
      {" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
      {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  static void replace_all(std::string& text, std::string_view from, std::string_view to) {
    size_t at = text.find(from);
    if (at == text.npos) return;
    std::string out;
    size_t done = 0;
    for (; at != text.npos; at = text.find(from, done)) {
      out.append(text, done, at - done);
      out += to;
      done = at + from.size();
    }
    out.append(text, done);
    text = std::move(out);
  }
  std::string prefix_;
  bool cleanup_;
};

std::string one_character(const Json& spec, const char* key, const std::string& fallback, const std::string& where) {
  std::string text = json_string(spec, key, fallback, where);
  if (only_char(text) == 0) {
    throw Error(StatusCode::kBadInput, std::string("field '") + key + "' must be one character", where);
  }
  return text;
}

std::unique_ptr<Decoder> make(const Json& spec, int depth, const std::string& where) {
  const std::string type = step_type(spec, where);
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    for (const Json& step : sequence_steps(spec, "decoders", depth, where)) {
      steps.push_back(make(step, depth + 1, where + ".decoders[" + std::to_string(steps.size()) + "]"));
    }
    return std::make_unique<SequenceDecoder>(std::move(steps));
  }
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(Pattern::from_json(spec, "pattern", where),
                                            json_string(spec, "content", where));
  }
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Strip") {
    const int64_t start = json_int(spec, "start", 0, where), stop = json_int(spec, "stop", 0, where);
    if (start < 0 || stop < 0) {
      throw Error(StatusCode::kBadInput, "fields 'start' and 'stop' may not be negative", where);
    }
    return std::make_unique<StripDecoder>(one_character(spec, "content", " ", where), start, stop);
  }
  if (type == "Metaspace") {
    const bool prefix = json_bool(spec, "add_prefix_space", true, where);
    const bool never = json_string(spec, "prepend_scheme", prefix ? "always" : "never", where) == "never";
    return std::make_unique<MetaspaceDecoder>(one_character(spec, "replacement", "\xE2\x96\x81", where), !never);
  }
  if (type == "WordPiece") {
    return std::make_unique<WordPieceDecoder>(json_string(spec, "prefix", "##", where),
                                              json_bool(spec, "cleanup", true, where));
  }
  throw Error(StatusCode::kUnsupported, "the decoder type " + in_quotes(type) + " is not supported", where,
              "supported: Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece");
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Json& spec, const std::string& where) {
  return spec.is_null() ? nullptr : make(spec, 0, where);
}

}  // namespace microtome::tok
