#include "core/io/tokenizer/pre_tokenizers.h"

#include <algorithm>
#include <vector>

#include "core/base/quote.h"
#include "core/io/tokenizer/byte_alphabet.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/pattern.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const std::string& name, const std::string& where) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw Error(StatusCode::kBadInput, "field 'behavior' has the unknown value " + in_quotes(name), where,
              "known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

// A stretch of the text, matched by the delimiter or not.
struct Part {
  size_t begin, end;
  bool match;
};

// Matches and what lies between them, in order, covering the whole text.
void cover(const std::vector<Match>& matches, size_t size, bool invert, std::vector<Part>& out) {
  out.clear();
  size_t at = 0;
  for (const Match& m : matches) {
    if (m.begin > at) out.push_back({at, m.begin, invert});
    out.push_back({m.begin, m.end, !invert});
    at = m.end;
  }
  if (at < size) out.push_back({at, size, invert});
}

// What the reference's split() keeps of the parts.
void arrange(std::vector<Part>& parts, Behavior behavior) {
  std::vector<Part> out;
  out.reserve(parts.size());
  bool previous = false;
  switch (behavior) {
    case Behavior::kIsolated:
      return;
    case Behavior::kRemoved:
      std::erase_if(parts, [](const Part& p) { return p.match; });
      return;
    case Behavior::kContiguous:
      for (const Part& p : parts) {
        if (p.match == previous && !out.empty()) {
          out.back().end = p.end;
        } else {
          out.push_back(p);
        }
        previous = p.match;
      }
      break;
    case Behavior::kMergedWithPrevious:
      for (const Part& p : parts) {
        if (p.match && !previous && !out.empty()) {
          out.back().end = p.end;
        } else {
          out.push_back(p);
        }
        previous = p.match;
      }
      break;
    case Behavior::kMergedWithNext:
      for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
        if (it->match && !previous && !out.empty()) {
          out.back().begin = it->begin;
        } else {
          out.push_back(*it);
        }
        previous = it->match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
  parts = std::move(out);
}

// Splits every split that is no added token; find(view, matches) says where the delimiters are.
template <class Find>
void split_by(PreTokenized& text, Behavior behavior, bool invert, const Find& find) {
  std::vector<Split> out;
  out.reserve(text.splits.size() * 2);
  std::vector<Match> matches;
  std::vector<Part> parts;
  for (const Split& s : text.splits) {
    if (s.token >= 0) {
      out.push_back(s);
      continue;
    }
    matches.clear();
    find(text.view(s), matches);
    cover(matches, s.end - s.begin, invert, parts);
    arrange(parts, behavior);
    for (const Part& p : parts) {
      if (p.end == p.begin) continue;
      out.push_back({s.begin + p.begin, s.begin + p.end, text.align[s.begin + p.begin].begin, -1});
    }
  }
  text.splits = std::move(out);
}

// Every character that is one of the class, as a match of its own.
template <class IsMember>
void find_chars(std::string_view text, IsMember is_member, std::vector<Match>& out) {
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_width(text[i]);
    if (is_member(code_point_at(text.data() + i))) out.push_back({i, i + n});
    i += n;
  }
}

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void apply(PreTokenized& text, const Budget& budget) const override {
    for (const auto& step : steps_) {
      step->apply(text, budget);
      budget.check_time();
    }
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex, const std::string& where)
      : add_prefix_space_(add_prefix_space) {
    if (use_regex) {
      words_ = std::make_unique<Pattern>(Pattern::regex(
          R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", where));
    }
  }
  void apply(PreTokenized& text, const Budget& budget) const override {
    if (add_prefix_space_) {
      text.rewrite_splits(budget, [](Rewrite& pass) {
        if (pass.peek() == U' ') {
          pass.keep_rest();
        } else {
          prepend(pass, U" ");
        }
      });
    }
    if (words_) {
      split_by(text, Behavior::kIsolated, false,
               [&](std::string_view s, std::vector<Match>& out) { words_->find_all(s, budget, out); });
    }
    text.rewrite_splits(budget, [](Rewrite& pass) { to_byte_alphabet(pass); });
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<const Pattern> words_;
};

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(PreTokenized& text, const Budget& budget) const override {
    split_by(text, behavior_, invert_,
             [&](std::string_view s, std::vector<Match>& out) { pattern_.find_all(s, budget, out); });
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// Digits, WhitespaceSplit and Punctuation: the delimiter is a class of characters.
class ClassPreTokenizer : public PreTokenizer {
 public:
  ClassPreTokenizer(bool (*is_member)(char32_t), Behavior behavior) : is_member_(is_member), behavior_(behavior) {}
  void apply(PreTokenized& text, const Budget&) const override {
    split_by(text, behavior_, false,
             [&](std::string_view s, std::vector<Match>& out) { find_chars(s, is_member_, out); });
  }

 private:
  bool (*is_member_)(char32_t);
  Behavior behavior_;
};

// \w+|[^\w\s]+ kept, the rest dropped.
class WhitespacePreTokenizer : public PreTokenizer {
 public:
  void apply(PreTokenized& text, const Budget&) const override {
    split_by(text, Behavior::kRemoved, true, [](std::string_view s, std::vector<Match>& out) {
      int run = 0;   // 0: white space, 1: word characters, 2: others
      for (size_t i = 0; i < s.size();) {
        const size_t n = utf8_width(s[i]);
        const char32_t c = code_point_at(s.data() + i);
        const int kind = is_word_char(c) ? 1 : is_white_space(c) ? 0 : 2;
        if (kind != 0 && kind == run) {
          out.back().end = i + n;
        } else if (kind != 0) {
          out.push_back({i, i + n});
        }
        run = kind;
        i += n;
      }
    });
  }
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  enum class Scheme { kAlways, kFirst, kNever };
  MetaspacePreTokenizer(char32_t replacement, Scheme scheme, bool split)
      : replacement_(replacement), scheme_(scheme), split_(split) {}
  void apply(PreTokenized& text, const Budget& budget) const override {
    text.rewrite_splits(budget, [&](Rewrite& pass) {
      while (!pass.done()) {
        const char32_t c = pass.peek();
        pass.replace(c == U' ' ? replacement_ : c);
      }
    });
    if (scheme_ != Scheme::kNever) {
      const std::u32string mark(1, replacement_);
      text.rewrite_splits(budget, [&](Rewrite& pass) {
        const bool here = scheme_ == Scheme::kAlways || pass.origin() == 0;
        if (here && pass.peek() != replacement_) {
          prepend(pass, mark);
        } else {
          pass.keep_rest();
        }
      });
    }
    if (split_) {
      split_by(text, Behavior::kMergedWithNext, false, [&](std::string_view s, std::vector<Match>& out) {
        find_chars(s, [&](char32_t c) { return c == replacement_; }, out);
      });
    }
  }

 private:
  char32_t replacement_;
  Scheme scheme_;
  bool split_;
};

std::unique_ptr<PreTokenizer> make_metaspace(const Json& spec, const std::string& where) {
  using Scheme = MetaspacePreTokenizer::Scheme;
  const char32_t replacement = only_char(json_string(spec, "replacement", "\xE2\x96\x81", where));
  if (replacement == 0) throw Error(StatusCode::kBadInput, "field 'replacement' must be one character", where);
  const bool prefix = json_bool(spec, "add_prefix_space", true, where);
  const std::string name = json_string(spec, "prepend_scheme", prefix ? "always" : "never", where);
  Scheme scheme;
  if (name == "always") {
    scheme = Scheme::kAlways;
  } else if (name == "first") {
    scheme = Scheme::kFirst;
  } else if (name == "never") {
    scheme = Scheme::kNever;
  } else {
    throw Error(StatusCode::kBadInput, "field 'prepend_scheme' has the unknown value " + in_quotes(name), where,
                "known: always, first, never");
  }
  if (!prefix && scheme != Scheme::kNever) {
    throw Error(StatusCode::kBadInput, "fields 'add_prefix_space' and 'prepend_scheme' contradict each other", where);
  }
  return std::make_unique<MetaspacePreTokenizer>(replacement, scheme, json_bool(spec, "split", true, where));
}

std::unique_ptr<PreTokenizer> make(const Json& spec, int depth, const std::string& where) {
  const std::string type = step_type(spec, where);
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    for (const Json& step : sequence_steps(spec, "pretokenizers", depth, where)) {
      steps.push_back(make(step, depth + 1, where + ".pretokenizers[" + std::to_string(steps.size()) + "]"));
    }
    return std::make_unique<SequencePreTokenizer>(std::move(steps));
  }
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelPreTokenizer>(json_bool(spec, "add_prefix_space", true, where),
                                                   json_bool(spec, "use_regex", true, where), where);
  }
  if (type == "Split") {
    return std::make_unique<SplitPreTokenizer>(Pattern::from_json(spec, "pattern", where),
                                               behavior_of(json_string(spec, "behavior", where), where),
                                               json_bool(spec, "invert", false, where));
  }
  if (type == "Digits") {
    return std::make_unique<ClassPreTokenizer>(
        is_numeric, json_bool(spec, "individual_digits", false, where) ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Whitespace") return std::make_unique<WhitespacePreTokenizer>();
  if (type == "WhitespaceSplit") return std::make_unique<ClassPreTokenizer>(is_white_space, Behavior::kRemoved);
  if (type == "Punctuation") {
    return std::make_unique<ClassPreTokenizer>(is_punctuation,
                                               behavior_of(json_string(spec, "behavior", "Isolated", where), where));
  }
  if (type == "Metaspace") return make_metaspace(spec, where);
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    steps.push_back(std::make_unique<ClassPreTokenizer>(is_white_space, Behavior::kRemoved));
    steps.push_back(std::make_unique<ClassPreTokenizer>(is_punctuation, Behavior::kIsolated));
    return std::make_unique<SequencePreTokenizer>(std::move(steps));
  }
  throw Error(StatusCode::kUnsupported, "the pre-tokenizer type " + in_quotes(type) + " is not supported", where,
              "supported: Sequence, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace, "
              "BertPreTokenizer");
}

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec, const std::string& where) {
  return spec.is_null() ? nullptr : make(spec, 0, where);
}

}  // namespace microtome::tok
