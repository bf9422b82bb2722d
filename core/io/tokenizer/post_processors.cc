#include "core/io/tokenizer/post_processors.h"

#include <algorithm>

#include "core/base/quote.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

constexpr size_t kMaxTemplateTokens = 4096;

// Trims the white space that a piece begins or ends with from its offsets.
class ByteLevelPostProcessor : public PostProcessor {
 public:
  ByteLevelPostProcessor(bool trim_offsets, bool add_prefix_space)
      : trim_offsets_(trim_offsets), add_prefix_space_(add_prefix_space) {}
  void apply(Encoding& e, bool) const override {
    if (!trim_offsets_) return;
    for (size_t i = 0; i < e.ids.size(); ++i) {
      const std::string& piece = e.pieces[i];
      int64_t leading = 0, trailing = 0;
      for (size_t p = 0; p < piece.size() && blank(piece, p); p += utf8_width(piece[p])) ++leading;
      for (size_t p = piece.size(); p > 0; ++trailing) {
        p = previous_char(piece, p);
        if (!blank(piece, p)) break;
      }
      auto& [begin, end] = e.offsets[i];
      if (leading > 0) {
        // The one space that the pre-tokenizer put in front is not in the text.
        if ((i == 0 || begin == 0) && add_prefix_space_ && leading == 1) leading = 0;
        begin = std::min(begin + leading, end);
      }
      if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
    }
  }

 private:
  static bool blank(const std::string& piece, size_t at) {
    const char32_t c = code_point_at(piece.data() + at);
    return c == 0x120 || is_white_space(c);   // U+0120 spells the space
  }
  bool trim_offsets_, add_prefix_space_;
};

struct SpecialToken {
  std::vector<int64_t> ids;
  std::vector<std::string> pieces;
};

class TemplatePostProcessor : public PostProcessor {
 public:
  // parts: indices into `tokens`, -1 for the text itself.
  TemplatePostProcessor(std::vector<int> parts, std::vector<SpecialToken> tokens)
      : parts_(std::move(parts)), tokens_(std::move(tokens)) {}
  void apply(Encoding& e, bool add_special) const override {
    if (!add_special) return;
    Encoding out;
    for (int part : parts_) {
      if (part < 0) {
        out.ids.insert(out.ids.end(), e.ids.begin(), e.ids.end());
        out.pieces.insert(out.pieces.end(), e.pieces.begin(), e.pieces.end());
        out.offsets.insert(out.offsets.end(), e.offsets.begin(), e.offsets.end());
        continue;
      }
      const SpecialToken& t = tokens_[static_cast<size_t>(part)];
      out.ids.insert(out.ids.end(), t.ids.begin(), t.ids.end());
      out.pieces.insert(out.pieces.end(), t.pieces.begin(), t.pieces.end());
      out.offsets.resize(out.ids.size(), {0, 0});
    }
    e = std::move(out);
  }
  std::optional<int64_t> first_special() const override {
    if (parts_.empty() || parts_[0] < 0) return std::nullopt;
    const SpecialToken& t = tokens_[static_cast<size_t>(parts_[0])];
    return t.ids.empty() ? std::nullopt : std::optional<int64_t>(t.ids[0]);
  }

 private:
  std::vector<int> parts_;
  std::vector<SpecialToken> tokens_;
};

class SequencePostProcessor : public PostProcessor {
 public:
  explicit SequencePostProcessor(std::vector<std::unique_ptr<PostProcessor>> steps) : steps_(std::move(steps)) {}
  void apply(Encoding& e, bool add_special) const override {
    for (const auto& step : steps_) step->apply(e, add_special);
  }
  // The last step that adds one stands furthest in front.
  std::optional<int64_t> first_special() const override {
    for (auto it = steps_.rbegin(); it != steps_.rend(); ++it) {
      if (const auto id = (*it)->first_special()) return id;
    }
    return std::nullopt;
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

SpecialToken read_special(const Json& spec, const std::string& name, int64_t vocab_size, const std::string& where) {
  const auto table = spec.find("special_tokens");
  if (table == spec.end() || !table->is_object() || !table->contains(name)) {
    throw Error(StatusCode::kBadInput,
                "the template uses " + in_quotes(name) + ", which 'special_tokens' does not define", where);
  }
  const Json& entry = table->at(name);
  const std::string here = where + ".special_tokens[" + in_quotes(name) + "]";
  if (!entry.is_object() || !entry.contains("ids") || !entry["ids"].is_array() || !entry.contains("tokens") ||
      !entry["tokens"].is_array() || entry["ids"].size() != entry["tokens"].size() ||
      entry["ids"].size() > kMaxTemplateTokens) {
    throw Error(StatusCode::kBadInput, "fields 'ids' and 'tokens' must be lists of the same length", here);
  }
  SpecialToken t;
  for (const Json& id : entry["ids"]) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab_size) {
      throw Error(StatusCode::kBadInput,
                  "field 'ids' holds something that is no id below " + std::to_string(vocab_size), here);
    }
    t.ids.push_back(id.get<int64_t>());
  }
  for (const Json& piece : entry["tokens"]) {
    if (!piece.is_string()) throw Error(StatusCode::kBadInput, "field 'tokens' must hold strings", here);
    t.pieces.push_back(piece.get<std::string>());
  }
  return t;
}

std::unique_ptr<PostProcessor> make_template(const Json& spec, int64_t vocab_size, const std::string& where) {
  const auto single = spec.find("single");
  if (single == spec.end() || !single->is_array() || single->size() > kMaxTemplateTokens) {
    throw Error(StatusCode::kBadInput, "field 'single' must be a list", where);
  }
  std::vector<int> parts;
  std::vector<SpecialToken> tokens;
  size_t added = 0;
  int texts = 0;
  for (const Json& part : *single) {
    const bool known = part.is_object() && part.size() == 1;
    if (known && part.contains("Sequence") && part["Sequence"].is_object()) {
      const std::string id = json_string(part["Sequence"], "id", where + ".single");
      if (id != "A" || ++texts > 1) {
        throw Error(StatusCode::kBadInput, "field 'single' must name the sequence A once and no other", where);
      }
      parts.push_back(-1);
    } else if (known && part.contains("SpecialToken") && part["SpecialToken"].is_object()) {
      parts.push_back(static_cast<int>(tokens.size()));
      tokens.push_back(
          read_special(spec, json_string(part["SpecialToken"], "id", where + ".single"), vocab_size, where));
      added += tokens.back().ids.size();
    } else {
      throw Error(StatusCode::kBadInput, "field 'single' must hold {\"Sequence\": …} and {\"SpecialToken\": …}", where);
    }
    if (added > kMaxTemplateTokens) throw Error(StatusCode::kBadInput, "field 'single' adds too many tokens", where);
  }
  return std::make_unique<TemplatePostProcessor>(std::move(parts), std::move(tokens));
}

// "cls": ["[CLS]", 101], the token and its id.
SpecialToken read_pair(const Json& spec, const char* key, int64_t vocab_size, const std::string& where) {
  const auto it = spec.find(key);
  if (it == spec.end() || !it->is_array() || it->size() != 2 || !(*it)[0].is_string() || !(*it)[1].is_number_integer() ||
      (*it)[1].get<int64_t>() < 0 || (*it)[1].get<int64_t>() >= vocab_size) {
    throw Error(StatusCode::kBadInput, std::string("field '") + key + "' must be [token, id], the id below " +
                std::to_string(vocab_size), where);
  }
  return {{(*it)[1].get<int64_t>()}, {(*it)[0].get<std::string>()}};
}

// BertProcessing and RobertaProcessing: CLS text SEP; the latter trims offsets first.
std::unique_ptr<PostProcessor> make_cls_sep(const Json& spec, bool trims, int64_t vocab_size, const std::string& where) {
  std::vector<SpecialToken> tokens;
  for (const char* key : {"cls", "sep"}) tokens.push_back(read_pair(spec, key, vocab_size, where));
  std::vector<std::unique_ptr<PostProcessor>> steps;
  if (trims)
    steps.push_back(std::make_unique<ByteLevelPostProcessor>(json_bool(spec, "trim_offsets", true, where),
                                                             json_bool(spec, "add_prefix_space", true, where)));
  steps.push_back(std::make_unique<TemplatePostProcessor>(std::vector<int>{0, -1, 1}, std::move(tokens)));
  return std::make_unique<SequencePostProcessor>(std::move(steps));
}

std::unique_ptr<PostProcessor> make(const Json& spec, int64_t vocab_size, int depth, const std::string& where) {
  const std::string type = step_type(spec, where);
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PostProcessor>> steps;
    for (const Json& step : sequence_steps(spec, "processors", depth, where)) {
      steps.push_back(make(step, vocab_size, depth + 1, where + ".processors[" + std::to_string(steps.size()) + "]"));
    }
    return std::make_unique<SequencePostProcessor>(std::move(steps));
  }
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelPostProcessor>(json_bool(spec, "trim_offsets", true, where),
                                                    json_bool(spec, "add_prefix_space", true, where));
  }
  if (type == "TemplateProcessing") return make_template(spec, vocab_size, where);
  if (type == "BertProcessing") return make_cls_sep(spec, false, vocab_size, where);
  if (type == "RobertaProcessing") return make_cls_sep(spec, true, vocab_size, where);
  throw Error(StatusCode::kUnsupported, "the post-processor type " + in_quotes(type) + " is not supported", where,
              "supported: Sequence, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing");
}

}  // namespace

std::unique_ptr<PostProcessor> make_post_processor(const Json& spec, int64_t vocab_size, const std::string& where) {
  return spec.is_null() ? nullptr : make(spec, vocab_size, 0, where);
}

}  // namespace microtome::tok
