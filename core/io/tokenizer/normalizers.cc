#include "core/io/tokenizer/normalizers.h"

#include <vector>

#include "core/base/quote.h"
#include "core/io/tokenizer/byte_alphabet.h"
#include "core/io/tokenizer/charsmap.h"
#include "core/io/tokenizer/pattern.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); i += utf8_width(text[i])) out.push_back(code_point_at(text.data() + i));
  return out;
}

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(AlignedText& text, const Budget& budget) const override {
    for (const auto& step : steps_) {
      step->apply(text, budget);
      budget.check_time();
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string_view text) : text_(code_points(text)) {}
  void apply(AlignedText& text, const Budget& budget) const override {
    rewrite(text, budget, [&](Rewrite& pass) { prepend(pass, text_); });
  }

 private:
  std::u32string text_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(Pattern pattern, std::string_view content)
      : pattern_(std::move(pattern)), content_(code_points(content)), content_bytes_(content.size()) {}
  void apply(AlignedText& text, const Budget& budget) const override {
    std::vector<Match> matches;
    pattern_.find_all(text.text, budget, matches);
    if (matches.empty()) return;
    budget.check_size(matches.size() * content_bytes_);
    rewrite(text, budget, [&](Rewrite& pass) {
      for (const Match& m : matches) {
        pass.keep_until(m.begin);
        while (pass.at() < m.end) pass.skip();
        for (char32_t c : content_) pass.insert(c);
      }
      pass.keep_rest();
    });
  }

 private:
  Pattern pattern_;
  std::u32string content_;
  size_t content_bytes_;
};

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(UnicodeForm form) : form_(form) {}
  void apply(AlignedText& text, const Budget& budget) const override { normalize_unicode(text, form_, budget); }

 private:
  UnicodeForm form_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  void apply(AlignedText& text, const Budget& budget) const override {
    rewrite(text, budget, [](Rewrite& pass) {
      std::u32string lower;
      while (!pass.done()) {
        lower.clear();
        append_lowercase(lower, pass.peek());
        pass.replace(lower[0]);
        for (size_t i = 1; i < lower.size(); ++i) pass.insert(lower[i]);
      }
    });
  }
};

class StripAccentsNormalizer : public Normalizer {
 public:
  void apply(AlignedText& text, const Budget& budget) const override {
    rewrite(text, budget, [](Rewrite& pass) {
      while (!pass.done()) {
        const char32_t c = pass.peek();
        if (is_combining_mark(c)) {
          pass.skip();
        } else {
          pass.replace(c);
        }
      }
    });
  }
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(AlignedText& text, const Budget& budget) const override {
    const std::string& s = text.text;
    size_t begin = 0, end = s.size();
    while (left_ && begin < end && is_white_space(code_point_at(s.data() + begin))) begin += utf8_width(s[begin]);
    while (right_ && end > begin) {
      const size_t p = previous_char(s, end);
      if (!is_white_space(code_point_at(s.data() + p))) break;
      end = p;
    }
    text.text = s.substr(begin, end - begin);
    text.align = std::vector<Align>(text.align.begin() + static_cast<ptrdiff_t>(begin),
                                    text.align.begin() + static_cast<ptrdiff_t>(end));
  }

 private:
  bool left_, right_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(AlignedText& text, const Budget& budget) const override {
    rewrite(text, budget, [](Rewrite& pass) { to_byte_alphabet(pass); });
  }
};

// Steps of BERT's own tokenizer: control characters go and white space becomes spaces, ideographs get spaces around them,
// accents go (all nonspacing marks of the decomposed text), letters become small.
class BertNormalizer : public Normalizer {
 public:
  BertNormalizer(bool clean, bool ideographs, bool accents, bool lowercase)
      : clean_(clean), ideographs_(ideographs), accents_(accents), lowercase_(lowercase) {}
  void apply(AlignedText& text, const Budget& budget) const override {
    if (clean_) {
      rewrite(text, budget, [](Rewrite& pass) {
        while (!pass.done()) {
          const char32_t c = pass.peek();
          const bool line = c == U'\t' || c == U'\n' || c == U'\r';
          if (c == 0 || c == 0xFFFD || (!line && is_control_or_format(c))) pass.skip();
          else pass.replace(is_white_space(c) ? U' ' : c);
        }
      });
    }
    if (ideographs_) {
      rewrite(text, budget, [](Rewrite& pass) {
        while (!pass.done()) {
          const char32_t c = pass.peek();
          if (!is_bert_ideograph(c)) {
            pass.replace(c);
            continue;
          }
          pass.replace(U' ');
          pass.insert(c);
          pass.insert(U' ');
        }
      });
    }
    if (accents_) {
      normalize_unicode(text, UnicodeForm::kNfd, budget);
      rewrite(text, budget, [](Rewrite& pass) {
        while (!pass.done()) {
          const char32_t c = pass.peek();
          if (is_nonspacing_mark(c)) pass.skip();
          else pass.replace(c);
        }
      });
    }
    if (lowercase_) LowercaseNormalizer().apply(text, budget);
  }

 private:
  // The reference's ranges, its U+2B920 for U+2B820 included.
  static bool is_bert_ideograph(char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  }
  bool clean_, ideographs_, accents_, lowercase_;
};

std::unique_ptr<Normalizer> make(const Json& spec, int depth, const std::string& where) {
  const std::string type = step_type(spec, where);
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (const Json& step : sequence_steps(spec, "normalizers", depth, where)) {
      steps.push_back(make(step, depth + 1, where + ".normalizers[" + std::to_string(steps.size()) + "]"));
    }
    return std::make_unique<SequenceNormalizer>(std::move(steps));
  }
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(json_string(spec, "prepend", where));
  if (type == "Replace") {
    return std::make_unique<ReplaceNormalizer>(Pattern::from_json(spec, "pattern", where),
                                               json_string(spec, "content", where));
  }
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(UnicodeForm::kNfc);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(UnicodeForm::kNfd);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(UnicodeForm::kNfkc);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(UnicodeForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "StripAccents") return std::make_unique<StripAccentsNormalizer>();
  if (type == "Strip") {
    return std::make_unique<StripNormalizer>(json_bool(spec, "strip_left", true, where),
                                             json_bool(spec, "strip_right", true, where));
  }
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "BertNormalizer") {
    const bool lowercase = json_bool(spec, "lowercase", true, where);
    return std::make_unique<BertNormalizer>(json_bool(spec, "clean_text", true, where),
                                            json_bool(spec, "handle_chinese_chars", true, where),
                                            json_bool(spec, "strip_accents", lowercase, where), lowercase);
  }
  if (type == "Precompiled") return make_charsmap(json_string(spec, "precompiled_charsmap", where), where);
  throw Error(StatusCode::kUnsupported, "the normalizer type " + in_quotes(type) + " is not supported", where,
              "supported: Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, ByteLevel, "
              "BertNormalizer, Precompiled");
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& spec, const std::string& where) {
  return spec.is_null() ? nullptr : make(spec, 0, where);
}

const Json& sequence_steps(const Json& spec, const char* key, int depth, const std::string& where) {
  const auto it = spec.find(key);
  if (it == spec.end() || !it->is_array()) {
    throw Error(StatusCode::kBadInput, std::string("field '") + key + "' must be a list", where);
  }
  if (depth >= kMaxSequenceDepth || it->size() > kMaxSequenceSteps) {
    throw Error(StatusCode::kBadInput,
                std::string("field '") + key + "' is nested too deeply or has too many steps", where,
                "at most " + std::to_string(kMaxSequenceDepth) + " levels of " + std::to_string(kMaxSequenceSteps) +
                    " steps are read");
  }
  return *it;
}

std::string step_type(const Json& spec, const std::string& where) {
  if (!spec.is_object()) throw Error(StatusCode::kBadInput, "this must be an object with a 'type'", where);
  return json_string(spec, "type", where);
}

}  // namespace microtome::tok
